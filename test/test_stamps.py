from __future__ import annotations

import pytest

from mdic_ros.stamps import repeats, stamp_problem

GOOD = [(100 + i) * 100_000_000 for i in range(100)]


@pytest.mark.parametrize(
    "stamps",
    [
        [],
        [0],  # a simulation starts at 0
        [0, *GOOD],
        GOOD[:50] + [1, 2, 3] + GOOD[50:],  # a clock that jumps
        GOOD + GOOD[:5],  # a few messages came twice
        [5, 5, 6],
        [0, 5, 0],
    ],
)
def test_stamps_that_tell_frames_apart(stamps: list[int]) -> None:
    assert stamp_problem(stamps) == ""


@pytest.mark.parametrize(
    ("stamps", "problem"),
    [
        ([0, 0], "all zero"),
        ([0] * 100, "all zero"),
        ([stamp * (i % 2) for i, stamp in enumerate(GOOD)], "partly zero"),
        (GOOD[:50] + [GOOD[50]] * 50, "repeated"),
        ([0, 0, *GOOD[:10], *GOOD[:10]], "repeated"),  # the zeros are not what is wrong
        (GOOD + GOOD, "repeated"),  # a loop was recorded
        ([5, 5, 5], "repeated"),
        ([5, 6] * 10, "repeated"),
        (sorted(GOOD * 2), "repeated"),  # a driver that stamps each frame twice
    ],
)
def test_stamps_that_do_not(stamps: list[int], problem: str) -> None:
    assert stamp_problem(stamps) == problem


def test_repeats_are_counted_without_the_first() -> None:
    assert [repeats(stamps) for stamps in ([], [7], [7, 8, 7, 7])] == [0, 0, 2]
