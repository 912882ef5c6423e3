"""What every room says of a value that cannot be."""

from __future__ import annotations

from typing import Any


class ImpossibleValue(ValueError):
    """A field holds what cannot be; the message names the field, the value and what was expected.

    Every room raises a kind of its own, and says at it of what.
    """

    def __init__(self, field_name: str, value: object, expected: str) -> None:
        super().__init__(f"{field_name}: {value!r}, expected {expected}")
        self.field_name = field_name
        self.value = value
        self.expected = expected

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers hand on what they raise, and pickle makes an exception anew from its message alone.
        return type(self), (self.field_name, self.value, self.expected)
