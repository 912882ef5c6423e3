"""Simple values as bits and back (EXI 1.0, section 7.1): what stands between an element's start and its end."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Callable
from functools import cache
from typing import Any

from twin.wire.exi.bits import Source, number_bits, octet_bits, span, string_bits, unsigned_bits, width_for
from twin.wire.exi.errors import InvalidValue, Truncated
from twin.wire.exi.schema import Kind, Name, Simple

# EXI 1.0, 7.1.9: an integer whose range holds at most this many values is written in as many bits as the range needs.
_SMALL_RANGE = 4096
_DIGITS = 68  # of an integer in text: as many as 224 bits have


Reader = Callable[[Source, int], tuple[Any, int]]
Writer = Callable[[Any], str]


def is_small(simple: Simple) -> bool:
    """Whether an integer type is written in a fixed number of bits."""
    return (simple.kind is Kind.INTEGER and simple.low is not None and simple.high is not None
            and simple.high - simple.low < _SMALL_RANGE)


@cache
def small_values(simple: Simple) -> dict[str, Any] | None:
    """Bits to value, for types written in a fixed number of bits; None for all others."""
    if simple.kind is Kind.BOOLEAN:
        return {"0": False, "1": True}
    if simple.kind is Kind.ENUMERATION:
        width = width_for(len(simple.values))
        return {number_bits(n, width): value for n, value in enumerate(simple.values)}
    if is_small(simple) and simple.low is not None and simple.high is not None:
        count = simple.high - simple.low + 1
        width = width_for(count)
        return {number_bits(n, width): simple.low + n for n in range(count)}
    return None


@cache
def framed_values(simple: Simple) -> dict[str, Any] | None:
    """The same with the event codes of an element around it: nothing unforeseen before the value, nothing after."""
    small = small_values(simple)
    return None if small is None else {f"0{bits}0": value for bits, value in small.items()}


def value_reader(simple: Simple, owner: Name) -> Reader:
    """How a value of `simple` is read; `owner` is the element or attribute, to which known strings belong."""
    small = small_values(simple)
    if small is not None:
        return _small_reader(small)
    if simple.kind is Kind.INTEGER:
        return _integer_reader(simple)
    if simple.kind is Kind.STRING:
        return _string_reader(simple, owner)
    if simple.kind is Kind.BASE64:
        def read_base64(source: Source, at: int) -> tuple[str, int]:
            octets, at = source.octets(at, simple.shortest, simple.longest)
            return b64encode(octets).decode("ascii"), at
        return read_base64

    def read_hex(source: Source, at: int) -> tuple[str, int]:
        octets, at = source.octets(at, simple.shortest, simple.longest)
        return octets.hex().upper(), at
    return read_hex


def _small_reader(small: dict[str, Any]) -> Reader:
    width = len(next(iter(small)))

    def read(source: Source, at: int) -> tuple[Any, int]:
        end = at + width
        bits = source.bits[at:end]
        if bits not in small:
            raise value_fault(bits, small, width)
        return small[bits], end
    return read


def value_fault(bits: str, small: dict[str, Any], width: int) -> Truncated | InvalidValue:
    """Why `bits` are none of the `small` values."""
    if len(bits) < width:
        return Truncated(f"the stream ends inside a value of {width} bits")
    values = list(small.values())
    expected = f"{values[0]} to {values[-1]}" if isinstance(values[0], int) else f"one of {len(values)} names"
    return InvalidValue(f"number {int(bits, 2)} of a type with {len(values)} values, expected {expected}")


def _integer_reader(simple: Simple) -> Reader:
    low, high = simple.low, simple.high
    if low is not None and low >= 0:
        def read_unsigned(source: Source, at: int) -> tuple[int, int]:
            number, at = source.unsigned(at)
            if number < low or (high is not None and number > high):
                raise InvalidValue(_range_fault(number, simple))
            return number, at
        return read_unsigned

    def read_signed(source: Source, at: int) -> tuple[int, int]:
        is_negative = source.bits[at:at + 1] == "1"
        number, at = source.unsigned(at + 1)
        if is_negative:
            number = -number - 1
        if (low is not None and number < low) or (high is not None and number > high):
            raise InvalidValue(_range_fault(number, simple))
        return number, at
    return read_signed


def _range_fault(number: int, simple: Simple) -> str:
    low = "any" if simple.low is None else simple.low
    high = "any" if simple.high is None else simple.high
    return f"{number}, expected {low} to {high}"


def _string_reader(simple: Simple, owner: Name) -> Reader:
    shortest, longest = simple.shortest, simple.longest

    def read(source: Source, at: int) -> tuple[str, int]:
        text, at = source.string(at, owner)
        if len(text) < shortest or (longest is not None and len(text) > longest):
            raise InvalidValue(f"{len(text)} characters, expected {span(simple.shortest, simple.longest)}")
        return text, at
    return read


@cache
def value_writer(simple: Simple) -> Writer:
    """How a value of `simple` is written, with all that its type forbids refused by `InvalidValue`."""
    small = small_values(simple)
    if small is not None:
        return _small_writer({value: bits for bits, value in small.items()}, simple)
    if simple.kind is Kind.INTEGER:
        return _integer_writer(simple)
    if simple.kind is Kind.STRING:
        return _string_writer(simple)
    return _binary_writer(simple)


def _small_writer(small: dict[Any, str], simple: Simple) -> Writer:
    expected = bool if simple.kind is Kind.BOOLEAN else str if simple.kind is Kind.ENUMERATION else int

    def write(value: Any) -> str:
        if type(value) is not expected or value not in small:
            names = list(small)
            wanted = f"{names[0]} to {names[-1]}" if expected is int else " | ".join(map(str, names))
            raise InvalidValue(f"{value!r:.80}, expected {wanted}")
        return small[value]
    return write


def _integer_writer(simple: Simple) -> Writer:
    low, high = simple.low, simple.high
    is_unsigned = low is not None and low >= 0

    def write(value: Any) -> str:
        if type(value) is not int or (low is not None and value < low) or (high is not None and value > high):
            raise InvalidValue(_range_fault(value, simple) if type(value) is int else
                               f"{value!r:.80}, expected an integer")
        if is_unsigned:
            return unsigned_bits(value)
        return "1" + unsigned_bits(-value - 1) if value < 0 else "0" + unsigned_bits(value)
    return write


def _string_writer(simple: Simple) -> Writer:
    shortest, longest = simple.shortest, simple.longest

    def write(value: Any) -> str:
        if type(value) is not str:
            raise InvalidValue(f"{value!r:.80}, expected text")
        if len(value) < shortest or (longest is not None and len(value) > longest):
            raise InvalidValue(f"{len(value)} characters, expected {span(simple.shortest, simple.longest)}")
        return string_bits(value)
    return write


def _binary_writer(simple: Simple) -> Writer:
    shortest, longest, is_hex = simple.shortest, simple.longest, simple.kind is Kind.HEX

    def write(value: Any) -> str:
        if type(value) is not str:
            raise InvalidValue(f"{value!r:.80}, expected text in {simple.kind.value}")
        try:
            octets = bytes.fromhex(value) if is_hex else b64decode(value, validate=True)
        except (NotBase64, ValueError):
            raise InvalidValue(f"{value!r:.80}, expected text in {simple.kind.value}") from None
        if len(octets) < shortest or (longest is not None and len(octets) > longest):
            raise InvalidValue(f"{len(octets)} octets, expected {span(simple.shortest, simple.longest)}")
        return unsigned_bits(len(octets)) + octet_bits(octets)
    return write


def parse_text(simple: Simple, text: str) -> Any:
    """The JSON value of text that a stream carries where its schema has a typed value (7.1, untyped values)."""
    stripped = text.strip()
    found: Any = text
    if simple.kind is Kind.BOOLEAN:
        found = {"true": True, "1": True, "false": False, "0": False}.get(stripped, stripped)
    elif simple.kind is Kind.INTEGER:
        digits = stripped.removeprefix("-").removeprefix("+")
        found = int(stripped) if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS else stripped
    elif simple.kind is not Kind.STRING:
        found = stripped.upper() if simple.kind is Kind.HEX else stripped
    return checked(simple, found)


def checked(simple: Simple, value: Any) -> Any:
    """`value`, if `simple` allows it.

    Raises:
        InvalidValue: it does not.
    """
    value_writer(simple)(value)
    return value
