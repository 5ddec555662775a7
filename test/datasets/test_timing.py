from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mdic_ros.datasets.timing import nearest, pair_nearest

stamps = st.lists(st.integers(0, 2000), max_size=30).map(sorted)


@settings(deadline=None)
@given(stamps, st.integers(0, 2000), st.integers(0, 300))
def test_nearest(values: list[int], stamp: int, slop: int) -> None:
    found = nearest(values, stamp, slop)
    distances = [abs(v - stamp) for v in values]
    if found is None:
        assert not distances or min(distances) > slop
    else:
        assert distances[found] == min(distances) <= slop


@settings(deadline=None)
@given(stamps, stamps, st.integers(0, 300))
def test_pairs_are_one_to_one(left: list[int], right: list[int], slop: int) -> None:
    pairs = pair_nearest(left, right, slop)
    for side in zip(*pairs, strict=True):
        assert len(set(side)) == len(side)
    assert all(abs(left[i] - right[j]) <= slop for i, j in pairs)
    assert pairs == sorted(pairs)
