from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from user_engagement.simulation import streams


@given(st.integers(0, 2**64 - 1))
def test_the_mixing_function_can_be_undone_and_so_never_maps_two_keys_to_one(key: int) -> None:
    assert _unmix(int(streams.mix(np.array([key], dtype=np.uint64))[0])) == key


def test_uniform_numbers_of_neighbouring_addresses_are_uniform_and_uncorrelated() -> None:
    keys = streams.numbered(streams.stream_key(1, "test"), np.arange(200_000))
    drawn = streams.uniform(keys)
    assert stats.kstest(drawn, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(drawn, streams.uniform(streams.branch(keys, "other")))[0, 1]) < 0.01


def test_uniform_numbers_never_reach_0_or_1() -> None:
    ends = np.array([0, 2**64 - 1], dtype=np.uint64)
    drawn = streams.uniform(ends)
    assert drawn[0] > 0
    assert drawn[1] < 1


def test_the_four_lanes_of_a_key_are_uniform_and_uncorrelated() -> None:
    lanes = streams.lanes(streams.numbered(streams.stream_key(2, "test"), np.arange(200_000)))
    assert lanes.shape == (200_000, 4)
    correlations = np.corrcoef(lanes.T.astype(float)) - np.eye(4)
    assert np.abs(correlations).max() < 0.01
    for lane in lanes.T:
        assert stats.kstest((lane + 0.5) / streams.LANE, "uniform").pvalue > 0.001


def test_a_lookup_table_draws_its_categories_with_their_shares() -> None:
    table = streams.lane_choices(np.array([2.0, 0.0, 1.0, 1.0]))
    assert np.bincount(table, minlength=4).tolist() == [32_768, 0, 16_384, 16_384]


def test_streams_of_other_names_and_seeds_are_other_streams() -> None:
    assert len({streams.stream_key(seed, name) for seed in range(50) for name in ("a", "b", "ab")}) == 150


def _unmix(mixed: int) -> int:
    mixed = _unshift(mixed, 31)
    mixed = mixed * pow(0x94D049BB133111EB, -1, 2**64) % 2**64
    mixed = _unshift(mixed, 27)
    mixed = mixed * pow(0xBF58476D1CE4E5B9, -1, 2**64) % 2**64
    return _unshift(mixed, 30)


def _unshift(value: int, bits: int) -> int:
    original = value
    for _ in range(64 // bits + 1):
        original = value ^ (original >> bits)
    return original
