"""Is the process alive, and can it do its work? Named checks, run together, each with its own time limit.

Alive means the event loop answers; a dead dependency never makes it "not alive", or a supervisor would kill the
service just when it keeps the chargers safe. Ready means every check passes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Check = Callable[[], Awaitable[None]]
"""Returns if all is well; raises with a message if not."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Outcome of one check. detail: why it failed; empty if it passed."""

    name: str
    ok: bool
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Readiness:
    """All checks; ready only if every one passed."""

    checks: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


class UnhealthyError(Exception):
    """Raised by a check: the message says what is wrong."""


class Health:
    """The checks of one service, by name. timeout_s: wall seconds a check may take before it counts as failed."""

    def __init__(self, timeout_s: float = 2.0) -> None:
        self._checks: dict[str, Check] = {}
        self._timeout_s = timeout_s

    def add(self, name: str, check: Check) -> None:
        """Raise a `ValueError` if the name is taken."""
        if name in self._checks:
            raise ValueError(f"health check: {name!r} exists, expected a new name")
        self._checks[name] = check

    async def ready(self) -> Readiness:
        """Run every check at once."""
        names = sorted(self._checks)
        return Readiness(tuple(await asyncio.gather(*(self._run(name) for name in names))))

    async def _run(self, name: str) -> CheckResult:
        start = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._checks[name]()
        except TimeoutError:
            detail = f"no answer within {self._timeout_s:g} s"
        except Exception as error:  # noqa: BLE001  whatever a check raises is its finding, and is reported as such
            detail = f"{type(error).__name__}: {error}"
        else:
            return CheckResult(name, ok=True, detail="", seconds=time.monotonic() - start)
        return CheckResult(name, ok=False, detail=detail, seconds=time.monotonic() - start)


def fresh_within(limit_s: float, last: Callable[[], float | None], what: str) -> Check:
    """A check that something happened lately. last: its `time.monotonic()` stamp, None if it never happened."""
    async def check() -> None:
        stamp = last()
        if stamp is None:
            raise UnhealthyError(f"{what}: never yet")
        age_s = time.monotonic() - stamp
        if age_s > limit_s:
            raise UnhealthyError(f"{what}: {age_s:.0f} s ago, expected within {limit_s:g} s")

    return check
