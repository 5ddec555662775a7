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
        assert min(distances) not in distances[found + 1 :]


def test_of_equally_near_ones_the_last() -> None:
    assert nearest([5, 15], 10, 5) == 1
    assert nearest([10, 10, 20], 10, 5) == 1
    assert nearest([0, 15, 15], 10, 5) == 2
    assert pair_nearest([10], [5, 15], 5) == [(0, 1)] and pair_nearest([5, 15], [10], 5) == [(1, 0)]


@settings(deadline=None)
@given(stamps, stamps, st.integers(0, 300))
def test_pairs_are_one_to_one(left: list[int], right: list[int], slop: int) -> None:
    pairs = pair_nearest(left, right, slop)
    for side in zip(*pairs, strict=True):
        assert len(set(side)) == len(side)
    assert all(abs(left[i] - right[j]) <= slop for i, j in pairs)
    assert pairs == sorted(pairs)
