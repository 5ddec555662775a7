"""When frames are played, for good and for odd stamps."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdic_ros.nodes.playback import DEFAULT_PERIOD_NS, LONGEST_GAP_NS, Playhead, Schedule


def test_playhead_runs_pauses_and_never_passes_the_next_frame():
    head = Playhead(1_000, now=10.0)
    assert head.move(10.5, 1.0, 10**12) == 500_001_000
    assert head.move(11.5, 2.0, 10**12) == 2_500_001_000
    assert head.move(20.0, 0.0, 10**12) == 2_500_001_000
    assert head.move(21.0, 1.0, 2_600_000_000) == 2_600_000_000
    assert head.move(22.0, 1.0, 2_600_000_000) == 2_600_000_000
    assert head.move(22.1, 1.0, 10**12) == 2_700_000_000


def test_playhead_goes_on_from_where_it_was_after_a_late_frame():
    head = Playhead(0, now=0.0)
    head.move(5.0, 1.0, 100_000_000)  # the frame at 0.1 s was waited for until 5 s
    assert head.move(5.1, 1.0, 10**12) == pytest.approx(200_000_000, abs=1)


def test_good_stamps_are_played_as_they_are():
    schedule = Schedule([700, 800, 900, 1_100])
    assert schedule.times_ns == [0, 100, 200, 400]
    assert schedule.clock_ns == [700, 800, 900, 1_100]
    assert (schedule.period_ns, schedule.odd_steps) == (100, 0)
    assert schedule.round_ns == schedule.round_clock_ns == 500
    assert [schedule.clock_before(3, left) for left in (200, 50, 0)] == [900, 1_050, 1_100]


def test_one_frame_has_a_period_of_its_own():
    schedule = Schedule([5])
    assert (schedule.times_ns, schedule.clock_ns) == ([0], [5])
    assert schedule.round_ns == schedule.round_clock_ns == DEFAULT_PERIOD_NS


@pytest.mark.parametrize("stamp", [0, 7])
def test_frozen_stamps_are_played_at_ten_frames_a_second_and_the_clock_runs(stamp):
    schedule = Schedule([stamp] * 3)
    assert schedule.times_ns == [0, DEFAULT_PERIOD_NS, 2 * DEFAULT_PERIOD_NS]
    assert schedule.clock_ns == [stamp + time for time in schedule.times_ns]
    assert schedule.odd_steps == 2


def test_a_clock_that_was_set_costs_one_period():
    late = 10**18
    schedule = Schedule([100, 200, late, late + 100])
    assert schedule.times_ns == [0, 100, 200, 300]
    assert schedule.clock_ns == [100, 200, late, late + 100]
    assert [schedule.clock_before(2, left) for left in (60, 0)] == [240, late]
    assert schedule.round_clock_ns == schedule.round_ns == 400  # not 10**18, which would end the loop in 2038


def test_a_pause_costs_one_period_and_the_loop_keeps_its_length():
    pause = 3 * LONGEST_GAP_NS
    schedule = Schedule([100, 200, pause, pause + 100])
    assert schedule.clock_ns == [100, 200, pause, pause + 100]
    assert (schedule.round_ns, schedule.round_clock_ns) == (400, pause + 100)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("odd", [0, 10**18, 2**40 * 10**9])
def test_one_odd_stamp_does_not_move_the_clock(place, odd):
    start, period = 5 * 10**17, 10**8
    stamps = [start + index * period for index in range(5)]
    stamps[place] = odd
    schedule = Schedule(stamps)
    assert schedule.clock_ns == pytest.approx([start + index * period for index in range(5)], abs=period)
    assert schedule.round_clock_ns == schedule.round_ns


def test_stamps_that_go_back_do_not_take_the_clock_along():
    schedule = Schedule([1_000, 1_100, 500, 600, 1_500])
    assert schedule.times_ns == [0, 100, 200, 300, 1_200]
    assert schedule.clock_ns == [1_000, 1_100, 1_200, 1_300, 2_200]


@given(st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=30))
def test_whatever_the_stamps_frames_are_due_one_after_the_other_within_bounds(stamps):
    schedule = Schedule(stamps)
    assert len(schedule.times_ns) == len(stamps)
    waits = [later - earlier for earlier, later in itertools.pairwise([*schedule.times_ns, schedule.round_ns])]
    assert all(0 < wait <= LONGEST_GAP_NS for wait in waits)
    assert all(later > earlier for earlier, later in itertools.pairwise(schedule.clock_ns))
    for index in range(1, len(stamps)):
        step = schedule.times_ns[index] - schedule.times_ns[index - 1]
        clock = [schedule.clock_before(index, left) for left in (step, step // 2, 0)]
        assert schedule.clock_ns[index - 1] == clock[0] <= clock[1] <= clock[2] == schedule.clock_ns[index]
