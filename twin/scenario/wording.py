"""What a field may hold, said in the words of people who write scenario files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

import msgspec

_KINDS = {
    "float": "a number", "int": "a whole number", "str": "text", "bool": "true or false", "object": "a table",
    "array": "a list", "datetime": "a time such as 2025-01-14T18:00:00+01:00", "null": "nothing",
}
_BOUNDS = {">=": "at least", ">": "more than", "<=": "at most", "<": "less than"}
_CLOCK = 'a time of day from "00:00" to "23:59"'


def kind_in_words(said: str) -> str:
    """What msgspec expects ("float >= 0.0", "array of length >= 1", "str matching regex ...") as a planner says it."""
    if "matching regex" in said:
        return _CLOCK  # the only texts with a pattern
    kinds, _, bound = said.partition(" of length ")
    if bound:
        sign, _, count = bound.rpartition(" ")
        entries = "entry" if count == "1" else "entries"
        text = "text" if kinds == "str" else "a list"
        unit = ("character" if count == "1" else "characters") if kinds == "str" else entries
        return f"{text} of {_BOUNDS.get(sign, 'exactly')} {count} {unit}"
    kinds, *bound_words = re.split(r" (?=[<>]=? )", said, maxsplit=1)
    words = " or ".join(_KINDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null")
    if not bound_words:
        return words
    sign, figure = bound_words[0].split(" ")
    return f"{words}, {_BOUNDS[sign]} {float(figure):,.10g}"


def one_of(names: Iterable[str], written: str) -> str:
    """What may stand there; the nearest name first where one is near to what was written."""
    names = list(names)
    near = get_close_matches(written, names, n=1)
    if near:
        return f"a known name: did you mean `{near[0]}`?"
    return f"one of {', '.join(names)}"


def type_at(kind: object, place: str) -> msgspec.inspect.Type | None:
    """The type of what stands at `place` (`.site.id`, `[3].kw`, `[...]` for a key) in a table of type `kind`."""
    found: msgspec.inspect.Type | None = msgspec.inspect.type_info(kind)
    for key in re.findall(r"\.([^.\[]+)|\[[^\]]*\]", place):
        found = _inside(found, key)
    return found


def _inside(kind: msgspec.inspect.Type | None, key: str) -> msgspec.inspect.Type | None:
    match kind:
        case msgspec.inspect.UnionType(types=types):
            return next((inner for inner in (_inside(one, key) for one in types) if inner is not None), None)
        case msgspec.inspect.StructType(fields=fields) if key:
            return next((field.type for field in fields if field.encode_name == key), None)
        case msgspec.inspect.ListType(item_type=item) if not key:
            return item
        case msgspec.inspect.VarTupleType(item_type=item) if not key:
            return item
        case msgspec.inspect.DictType(value_type=value):
            return value
    return None


def names_of(kind: msgspec.inspect.Type | None) -> list[str]:
    """The fields of a table, or the values that a field may have; none for anything else."""
    match kind:
        case msgspec.inspect.StructType(fields=fields):
            return [field.encode_name for field in fields]
        case msgspec.inspect.LiteralType(values=values):
            return [str(value) for value in values]
        case msgspec.inspect.UnionType(types=types):
            return [name for one in types for name in names_of(one)]
    return []
