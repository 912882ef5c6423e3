"""Random numbers that belong to one thing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from twin.draws import key_of, philox, ticks, uniforms

# Known answers published with the reference implementation (Random123, kat_vectors, philox4x32 with 10 rounds).
KNOWN = [
    ((0x00000000,) * 4, (0x00000000,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "mixed"), KNOWN)
def test_the_generator_gives_the_published_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], mixed: tuple[int, ...],
) -> None:
    a, b, c, d = (np.array([word], dtype=np.uint64) for word in counter)
    assert tuple(int(word[0]) for word in philox((a, b, c, d), key)) == mixed


NAMES = st.lists(st.tuples(st.integers(0, 2**31), st.integers(-5, 10**9)), min_size=1, max_size=20)


@given(st.integers(), NAMES, st.data())
def test_a_draw_depends_on_its_name_alone(seed: int, names: list[tuple[int, int]], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(names))))
    first, second = (np.array([name[column] for name in names], dtype=np.int64) for column in (0, 1))
    together = uniforms(seed, "purpose", first, second)
    for place in order:
        alone = uniforms(seed, "purpose", first[place : place + 1], second[place : place + 1])
        assert (alone[:, 0] == together[:, place]).all()


def test_many_rows_are_drawn_in_blocks_without_a_seam() -> None:
    names = np.arange(40_000)
    drawn = uniforms(1, "purpose", names)
    some = np.array([0, 16_383, 16_384, 32_767, 32_768, 39_999])
    assert (uniforms(1, "purpose", some) == drawn[:, some]).all()


def test_draws_are_even_and_independent() -> None:
    drawn = uniforms(7, "purpose", np.arange(50_000))
    assert ((drawn > 0.0) & (drawn < 1.0)).all()
    for column in drawn:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    others = [uniforms(8, "purpose", np.arange(50_000))[0], uniforms(7, "another", np.arange(50_000))[0]]
    correlation = np.corrcoef(np.vstack([drawn, *others, np.roll(drawn[0], 1)]))
    assert np.abs(correlation - np.eye(len(correlation))).max() < 5.0 / np.sqrt(50_000)


def test_seed_and_purpose_make_unlike_keys() -> None:
    keys = {key_of(seed, purpose) for seed in range(-50, 50) for purpose in ("driver", "down start", "down repair")}
    assert len(keys) == 300


def test_times_a_tenth_of_a_second_apart_have_different_names() -> None:
    times = np.arange(0.0, 400.0, 0.1) + 86_400.0 * 4_000
    assert np.unique(ticks(times)).size == times.size
