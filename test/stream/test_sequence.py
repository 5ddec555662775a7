import pytest

from mdic_ros.stream.sequence import Arrival, SequenceTracker

MS = 1_000_000


def arrivals(*messages: tuple[int, int], tracker: SequenceTracker | None = None) -> list[str]:
    tracker = tracker or SequenceTracker()
    return [tracker.arrived(sequence, stamp * MS).value for sequence, stamp in messages]


def test_a_gap_is_loss():
    tracker = SequenceTracker()
    assert arrivals((7, 0), (8, 100), (11, 400), tracker=tracker) == ["next"] * 3
    assert tracker.lost == 2


def test_duplicate_and_late_packets_are_refused_and_late_ones_are_not_lost():
    tracker = SequenceTracker()
    verdicts = arrivals((0, 0), (2, 200), (1, 100), (1, 100), (2, 200), (3, 300), tracker=tracker)
    assert verdicts == ["next", "next", "out_of_order", "duplicate", "duplicate", "next"]
    assert tracker.lost == 0


def test_the_counter_wraps():
    tracker = SequenceTracker()
    assert arrivals((2**32 - 1, 0), (0, 100), (1, 200), (2**32 - 1, 0), tracker=tracker) == [
        "next",
        "next",
        "next",
        "duplicate",
    ]
    assert tracker.lost == tracker.restarts == 0


@pytest.mark.parametrize(
    "messages",
    [
        [(5, 500), (0, 600)],  # live: stamps go on
        [(100, 10_000), (0, 0)],  # a recording in a loop: stamps go back, and so do the numbers, far
    ],
)
def test_a_restarted_encoder_is_followed_at_once(messages):
    tracker = SequenceTracker()
    assert arrivals(*messages, tracker=tracker) == ["next", "next"]
    assert (tracker.restarts, tracker.lost) == (1, 0)


def test_a_short_recording_in_a_loop_is_followed_after_some_packets():
    tracker = SequenceTracker()
    loop = [(sequence, sequence * 100) for sequence in range(8)]
    assert arrivals(*loop, tracker=tracker) == ["next"] * 8
    second = arrivals(*loop, tracker=tracker)
    assert second == ["duplicate"] * 4 + ["next"] * 4
    assert tracker.restarts == 1


def test_a_relay_that_repeats_every_packet_is_not_a_restart():
    tracker = SequenceTracker()
    verdicts = arrivals(*[(index // 10, index // 10 * 100) for index in range(50)], tracker=tracker)
    assert verdicts.count("next") == 5
    assert tracker.restarts == 0


def test_arrival_values_are_the_drop_causes():
    assert {arrival.value for arrival in Arrival} == {"next", "duplicate", "out_of_order"}


def test_a_forged_number_costs_no_statistic():
    tracker = SequenceTracker()
    verdicts = arrivals((7, 0), (8, 100), (2**31, 200), (9, 300), (10, 400), tracker=tracker)
    assert verdicts == ["next"] * 5
    assert (tracker.lost, tracker.restarts) == (0, 0)


def test_numbers_that_go_on_from_far_ahead_are_another_encoder():
    tracker = SequenceTracker()
    assert arrivals((7, 0), (900_000, 100), (900_001, 200), (900_004, 300), tracker=tracker) == ["next"] * 4
    assert (tracker.lost, tracker.restarts) == (2, 1)


def test_a_number_that_was_not_read_counts_once():
    tracker = SequenceTracker()
    arrivals((0, 0), tracker=tracker)
    for _ in range(5):
        tracker.unread(2)
    arrivals((10, 100), tracker=tracker)
    assert tracker.lost == 8


def test_numbers_are_ahead_of_the_last_packet_and_wrap():
    tracker = SequenceTracker()
    assert [tracker.ahead(number) for number in (0, 3, 2**32 - 1)] == [0, 3, -1]
    arrivals((2**32 - 1, 0), tracker=tracker)
    assert [tracker.ahead(number) for number in (0, 2**32 - 1, 2**32 - 4)] == [1, 0, -3]


def test_packets_that_were_not_read_are_not_lost():
    tracker = SequenceTracker()
    arrivals((7, 0), tracker=tracker)
    tracker.unread(8)
    tracker.unread(10)
    arrivals((11, 400), tracker=tracker)
    assert tracker.lost == 1  # number 9
