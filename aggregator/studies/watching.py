"""A long command on a terminal: how far it is, and how it is stopped."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from aggregator.refusal import Refused

Tell = Callable[[str, float, str], None]

_EVERY_S = 5.0
"""Seconds between lines where there is no terminal to draw a bar on, at first."""

_RARER = 0.1
"""Of the time that has gone by: after an hour there is a line every six minutes, not each five seconds."""


@contextmanager
def told(console: Console) -> Iterator[Tell]:
    """Progress on `console`: a bar that goes when the work is done, or a line now and then without a terminal."""
    if not console.is_terminal:
        yield _lines(console)
        return
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[where]}"), console=console, transient=True,
    ) as bar:
        tasks: dict[str, Any] = {}

        def tell(phase: str, done: float, where: str) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(phase, total=1.0, where=where)
            bar.update(tasks[phase], completed=done, where=where)

        yield tell


def _lines(console: Console) -> Tell:
    begun = last = time.monotonic()
    phases: dict[str, float] = {}

    def tell(phase: str, done: float, where: str) -> None:
        nonlocal last
        now = time.monotonic()
        since = phases.setdefault(phase, now)
        if now - last < max(_EVERY_S, _RARER * (now - begun)):
            return
        last = now
        console.print(f"{phase}: {done:.0%}{', ' * bool(where)}{where}{left_in_words(now - since, done)}",
                      highlight=False, soft_wrap=True)

    return tell


def left_in_words(gone_s: float, done: float) -> str:
    """How long a phase still takes if it goes on as it did for `gone_s`; nothing where that cannot be told yet."""
    if not 0.0 < done < 1.0 or gone_s <= 0.0:
        return ""
    minutes = gone_s * (1.0 - done) / done / 60.0
    return ", less than a minute left of it" if minutes < 1.0 else f", about {minutes:.0f} min left of it"


class Stop(BaseException):
    """A signal to end came. No `Exception`: nothing between here and the command may take it for a failure."""


class Stopped(Refused):
    """A command was told to end, and has told so."""


class Stopper:
    """Knows whether the work is to stop, also where a library has swallowed the exception that said so."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def stop(self, number: int, _frame: object) -> None:
        """Handle a signal. Solvers and their modelling layers report what flies through them: they are silenced."""
        if self.signal is not None:
            return
        self.signal = number
        logging.disable(logging.CRITICAL)
        sys.unraisablehook = lambda _unraisable: None
        raise Stop

    def check(self) -> None:
        """Raise `Stop` if a signal came."""
        if self.signal is not None:
            raise Stop


@contextmanager
def stopped_cleanly() -> Iterator[Stopper]:
    """A signal to end (SIGTERM, SIGINT, SIGHUP) clears away what was begun and is told in one line.

    Raises:
        Stopped: one of them came.
    """
    stopper = Stopper()
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup the work outlives its terminal
        numbers.append(signal.SIGHUP)
    former = {number: signal.signal(number, stopper.stop) for number in numbers}
    hook = sys.unraisablehook
    try:
        yield stopper
    except BaseException as error:
        if stopper.signal is None:
            raise
        if not isinstance(error, Stop | Exception):
            raise
        name = signal.Signals(stopper.signal).name
        raise Stopped(f"stopped by {name}; nothing was written") from None
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        if stopper.signal is not None:
            logging.disable(logging.NOTSET)
            sys.unraisablehook = hook
