"""What is wrong with a configuration, said so that it can be put right: file, field, value, what was expected.

Files are read section by section, so that one reading names every fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar

from pydantic import BaseModel, ValidationError

_SECRET_FIELDS = ("secret_sha256", "password_sha256", "database_url")

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """One thing that is wrong: where it stands, what is there, what was expected. Secrets show as "***"."""

    file: str
    field: str
    value: object
    expected: str

    def __str__(self) -> str:
        place = f"{self.file}: {self.field}" if self.field else self.file
        return f"{place}: {self.value!r}, expected {self.expected}"


class ConfigError(Exception):
    """The configuration cannot be used. faults: all of them; the message has one line for each."""

    def __init__(self, faults: Sequence[ConfigFault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


def faults_of(file: str, error: ValidationError, prefix: str = "") -> Iterator[ConfigFault]:
    """The complaints of pydantic as ours; values of secret fields are not repeated."""
    for item in error.errors(include_url=False):
        place = prefix
        for part in item["loc"]:
            place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
        is_secret = any(str(part) in _SECRET_FIELDS for part in item["loc"])
        absent = item["type"] == "missing"
        counts = item.get("ctx", {})
        if item["type"] in ("too_short", "too_long") and "actual_length" in counts:
            bound = "at least" if item["type"] == "too_short" else "at most"
            length = counts["min_length" if item["type"] == "too_short" else "max_length"]
            yield ConfigFault(file, place, f"{counts['actual_length']} values", f"{bound} {length}")
            continue
        value = "missing" if absent else "***" if is_secret else _short(item["input"])
        yield ConfigFault(file, place, value, _expectation(item["type"], item["msg"]))


def _short(value: object) -> object:
    return value if isinstance(value, (str, int, float, bool)) else type(value).__name__


def _expectation(kind: str, message: str) -> str:
    if kind == "missing":
        return "a value"
    if kind == "extra_forbidden":
        return "no such field (is it misspelt?)"
    message = message.removeprefix("Input should be ").removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


class SectionReader:
    """Takes sections out of a raw file and collects what is wrong with them."""

    def __init__(self, file: str, raw: Mapping[str, Any]) -> None:
        self._file = file
        self._raw = raw
        self._known: set[str] = set()
        self.faults: list[ConfigFault] = []

    def fault(self, place: str, value: object, expected: str) -> None:
        self.faults.append(ConfigFault(self._file, place, value, expected))

    def one(self, name: str, model: type[M], default: M | None = None) -> M | None:
        """The table [name], or None if it is faulty."""
        self._known.add(name)
        if name not in self._raw:
            if default is None:
                self.fault(name, "missing", f"a table [{name}]")
            return default
        return self._parse(name, self._raw[name], model)

    def maybe(self, name: str, model: type[M]) -> M | None:
        """The table [name]; None if it is not there, or faulty."""
        self._known.add(name)
        return self._parse(name, self._raw[name], model) if name in self._raw else None

    def many(self, name: str, model: type[M], at_least: int = 0) -> dict[int, M]:
        """The tables [[name]] that are without fault, by their place in the file."""
        self._known.add(name)
        items = self._raw.get(name, [])
        if not isinstance(items, list):
            self.fault(name, type(items).__name__, f"tables [[{name}]]")
            return {}
        if len(items) < at_least:
            self.fault(name, len(items), f"at least {at_least} [[{name}]]")
        parsed = ((at, self._parse(f"{name}[{at}]", item, model)) for at, item in enumerate(items))
        return {at: item for at, item in parsed if item is not None}

    def _parse(self, place: str, raw: object, model: type[M]) -> M | None:
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            self.faults.extend(faults_of(self._file, error, place))
            return None

    def refuse_unknown(self) -> None:
        for name in self._raw:
            if name not in self._known:
                self.fault(name, "unknown", f"one of {', '.join(sorted(self._known))}")

    def require_unique(self, section: str, items: Mapping[int, BaseModel], key: str) -> None:
        seen: set[str] = set()
        for at, item in items.items():
            value = getattr(item, key)
            if value in seen:
                self.fault(f"{section}[{at}].{key}", value, "a name that is not taken")
            seen.add(value)

    def names(self, section: str, key: str) -> set[str]:
        """Every name in a section, faulty entries included, so that one fault does not breed others."""
        items = self._raw.get(section)
        return {str(item[key]) for item in items if key in item} if _are_tables(items) else set()


def _are_tables(items: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)
