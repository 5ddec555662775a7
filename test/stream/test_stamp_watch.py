from collections.abc import Iterable

import pytest

from mdic_ros.stream.stamp_watch import StampWatch

GOOD = [10**18 + index * 10**8 for index in range(200)]


def problems(watch: StampWatch, stamps: Iterable[int]) -> list[str]:
    """What the watch says after each stamp."""
    found = []
    for stamp in stamps:
        before = watch.problem
        assert watch.add(stamp) == (watch.problem != before)
        found.append(watch.problem)
    return found


@pytest.mark.parametrize(
    ("stamps", "problem"),
    [
        ([0] * 6, "all zero"),
        ([77] * 6, "repeated"),
        ([stamp for stamp in GOOD[:6] for _ in range(2)], "repeated"),  # a driver that stamps each frame twice
        ([5, 6] * 6, "repeated"),
        ([stamp * (index % 2) for index, stamp in enumerate(GOOD[:12])], "partly zero"),
        (GOOD[:100] + [GOOD[100]] * 6, "repeated"),  # frozen later
    ],
)
def test_stamps_that_say_nothing_are_noticed(stamps, problem):
    assert problems(StampWatch(), stamps)[-1] == problem


def test_a_message_that_came_twice_and_a_loop_are_fine():
    twice = [*GOOD[:3], *GOOD[2:35], *GOOD[34:45], *GOOD[44:90]]
    assert set(problems(StampWatch(), twice)) == {""}
    assert set(problems(StampWatch(), GOOD[: StampWatch.WINDOW] * 3)) == {""}
    assert set(problems(StampWatch(), [0, *GOOD])) == {""}  # a simulation starts at 0


def test_stamps_are_trusted_again_when_none_of_the_last_is_repeated():
    watch = StampWatch()
    assert problems(watch, [0] * 5)[-1] == "all zero"
    after = problems(watch, GOOD[: StampWatch.WINDOW])
    assert after[0] == "partly zero" and after[-3:] == ["partly zero", "", ""]


def test_near_the_limit_the_answer_stays():
    watch = StampWatch()
    stamps = sorted(GOOD + GOOD[::9])  # two or three of twenty are repeated
    found = problems(watch, stamps)
    first = found.index("repeated")
    assert set(found[first:]) == {"repeated"}
