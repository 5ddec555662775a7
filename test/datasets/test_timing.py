from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mdic_ros.datasets.timing import nearest, pair_nearest, stamp_problem

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


SECOND = 1_000_000_000


def test_stamps_that_cannot_tell_images_apart() -> None:
    good = [10 * SECOND + i * SECOND // 10 for i in range(100)]
    assert stamp_problem([]) == ""
    assert stamp_problem(good) == ""
    assert stamp_problem([0, *good]) == ""  # a simulation starts at 0
    assert stamp_problem(good[:50] + [1, 2, 3] + good[50:]) == ""  # a clock that jumps is no reason
    assert stamp_problem(good + good[:5]) == ""  # a few messages came twice
    assert stamp_problem([0] * 100) == "100 of 100 stamps are 0"
    assert stamp_problem(good[:50] + [good[50]] * 50) == "49 of 100 stamps are repeated"
    assert stamp_problem(good + good) == "100 of 200 stamps are repeated"  # a loop was recorded
