"""A pair of virtual network interfaces (veth): what one end sends the other receives, as over a charging cable.

Needs Linux, the command `ip`, and CAP_NET_ADMIN. Both ends have a link-local IPv6 address at once, without duplicate
address detection, which takes a second or two.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator

WITHIN_S = 30.0  # the kernel needs milliseconds; a machine may be busy
_count = itertools.count()


class NoLink(OSError):
    """No pair of interfaces can be made by this process; the message says why."""


@contextlib.contextmanager
def virtual_link() -> Iterator[tuple[str, str]]:
    """Names of the station's and the car's interface, of this process alone; both are gone afterwards.

    Raises:
        NoLink: they cannot be made.
    """
    # The kernel takes names of at most 15 characters; a process id has up to 7.
    ends = tuple(f"v{os.getpid()}x{next(_count) % 1000}{end}" for end in "sc")
    station, car = ends
    _ip("link", "add", station, "type", "veth", "peer", "name", car)
    try:
        for number, name in enumerate(ends, start=1):
            _ip("link", "set", "dev", name, "addrgenmode", "none", "up")
            _ip("addr", "add", f"fe80::{number}/64", "dev", name, "nodad")
        yield station, car
    finally:
        with contextlib.suppress(NoLink):  # whoever took it away did what was to be done
            _ip("link", "del", station)


def _ip(*arguments: str) -> None:
    command = shutil.which("ip", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if command is None:
        raise NoLink("ip: no such command, expected it to make a pair of virtual interfaces")
    try:
        done = subprocess.run(  # noqa: S603 - `ip`, with words of our own
            [command, *arguments], capture_output=True, text=True, check=False, timeout=WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise NoLink(f"ip {' '.join(arguments)}: {fault}") from None
    if done.returncode != 0:
        raise NoLink(f"ip {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
