"""Random numbers that belong to one thing: drawn by asking, never by turn.

A draw is a pure function of (seed, purpose, three numbers that name the thing), so that adding a visit, an EVSE or a
replica, or switching another kind of chance on, leaves every other draw as it was (common random numbers). Philox4x32
with 10 rounds: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. NumPy has the same
family, but only as a stream with one state, too slow to be set up once per visit and replica.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

# Rows that are mixed at once: the working set of about ten columns stays in the second-level cache.
_BLOCK = 16384
_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
# Times are named to a tenth of a second: 2^32 of them are 13 years.
_TICKS_PER_S = 10.0
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def key_of(seed: int, purpose: str) -> tuple[int, int]:
    """Two 32-bit words for `purpose` under `seed` (any integer): unlike purposes get unrelated draws."""
    digest = hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Mix four columns of 32-bit words (held in 64 bits, so that products do not overflow) under `key`."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = (second >> _SHIFT) ^ c1 ^ np.uint64(k0), second & _LOW
        c2, c3 = (first >> _SHIFT) ^ c3 ^ np.uint64(k1), first & _LOW
        k0, k1 = (k0 + _KEY_STEPS[0]) & 0xFFFFFFFF, (k1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniforms(seed: int, purpose: str, *named_by: Ints) -> Floats:
    """Four independent uniform draws for each named thing.

    Args:
        seed: any integer.
        purpose: what the draws are for; another word gives unrelated draws.
        named_by: one to four columns of the same shape (n,), whose low 32 bits name the thing (replica, EVSE, number).

    Returns:
        Shape (4, n), strictly inside (0, 1), 2^-32 apart.
    """
    rows = named_by[0].size
    key = key_of(seed, purpose)
    drawn = np.empty((4, rows))
    for start in range(0, rows, _BLOCK):
        block = slice(start, min(start + _BLOCK, rows))
        words = [column[block].astype(np.uint64) & _LOW for column in named_by]
        words += [np.zeros(block.stop - block.start, dtype=np.uint64)] * (4 - len(words))
        for number, mixed in enumerate(philox((words[0], words[1], words[2], words[3]), key)):
            drawn[number, block] = mixed
    drawn += 0.5
    drawn *= 2.0**-32
    return drawn


def ticks(time_s: Floats) -> Ints:
    """Times as names: a visit is named by its EVSE and arrival, a fault by its slot and end."""
    return np.rint(time_s * _TICKS_PER_S).astype(np.int64)
