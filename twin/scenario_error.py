"""One clear sentence about an input that cannot be used: which file, which place in it, what stands there, what should.

Shared by the scenario reader and the importers, which must not know each other's insides.
"""

from __future__ import annotations

from pathlib import Path


class ScenarioError(ValueError):
    """A scenario or a file it names cannot be used; the message names file, row or field, value and what was expected.

    reason: a few words that many rows can share, for counting ("departure before arrival").
    """

    def __init__(self, file: Path | str, where: str, value: object, expected: str, reason: str = "") -> None:
        super().__init__(f"{file}: {where}: {value!r}, expected {expected}")
        self.file = str(file)
        self.where = where
        self.value = value
        self.expected = expected
        self.reason = reason or f"{where.rpartition(', ')[2]}: expected {expected}"

    def at(self, where: str) -> ScenarioError:
        """The same fault with its place in other words."""
        return ScenarioError(self.file, where, self.value, self.expected, self.reason)
