import pytest

from mdic_ros.nodes.pairing import Arrival, Pair, Pairer, SequenceTracker

MS = 1_000_000


def pairer(missing="none", slop_s=0.03, wait_s=0.1, **options) -> Pairer[str, str]:
    return Pairer(slop_s, wait_s, missing, **options)


def test_takes_the_nearest_side_image_within_the_slop():
    p = pairer()
    for stamp, name in ((0, "a"), (99, "b"), (110, "c"), (200, "d")):
        p.add_side(stamp * MS, name)
    p.add_primary(100 * MS, "x", now=0.0)
    assert list(p.ready(0.0)) == [Pair("x", "b", -1 * MS)]
    assert p.next_deadline is None


@pytest.mark.parametrize("offset_ms, within", [(30, True), (-30, True), (31, False), (-31, False)])
def test_the_slop_is_inclusive(offset_ms, within):
    p = pairer()
    p.add_side((1000 + offset_ms) * MS, "side")
    p.add_primary(1000 * MS, "x", now=0.0)
    assert [pair.side for pair in p.ready(1.0)] == (["side"] if within else [None])


def test_waits_for_a_later_side_image():
    p = pairer()
    p.add_primary(100 * MS, "x", now=5.0)
    assert list(p.ready(5.0)) == []
    assert p.next_deadline == pytest.approx(5.1)
    p.add_side(101 * MS, "side")
    assert list(p.ready(5.05)) == [Pair("x", "side", 1 * MS)]


def test_gives_up_at_the_deadline():
    p = pairer()
    p.add_primary(100 * MS, "x", now=5.0)
    assert list(p.ready(5.0999)) == []
    assert list(p.ready(5.1001)) == [Pair("x", None, 0)]


def test_does_not_wait_once_the_side_camera_has_passed():
    p = pairer()
    p.add_primary(100 * MS, "x", now=5.0)
    p.add_side(200 * MS, "next")
    assert list(p.ready(5.0)) == [Pair("x", None, 0)]


def test_waits_when_the_ring_holds_the_end_of_the_last_round():
    """A recording starts again: side images of its end, far ahead, say nothing about its start."""
    p = pairer()
    p.add_side(60_000 * MS, "end")
    p.add_primary(0, "x", now=5.0)
    assert list(p.ready(5.0)) == []
    p.add_side(0, "start")
    assert list(p.ready(5.01)) == [Pair("x", "start", 0)]


@pytest.mark.parametrize(
    "missing, expected",
    [
        ("none", Pair("x", None, 0)),
        ("skip", Pair("x", None, 0, skip=True)),
        ("last", Pair("x", "old", -900 * MS)),
    ],
)
def test_policies_for_a_missing_side_image(missing, expected):
    p = pairer(missing)
    p.add_side(50 * MS, "older")
    p.add_side(100 * MS, "old")
    p.add_primary(1000 * MS, "x", now=0.0)
    assert list(p.ready(1.0)) == [expected]


def test_last_without_any_side_image_decodes_without():
    p = pairer("last")
    p.add_primary(0, "x", now=0.0)
    assert list(p.ready(1.0)) == [Pair("x", None, 0)]


def test_frames_leave_in_order_of_arrival():
    p = pairer()
    p.add_primary(100 * MS, "x", now=0.0)
    p.add_primary(200 * MS, "y", now=0.05)
    p.add_side(200 * MS, "side of y")
    assert list(p.ready(0.06)) == [Pair("x", None, 0), Pair("y", "side of y", 0)]


def test_ring_and_queue_are_bounded():
    p = pairer(ring=3, waiting=2)
    for index in range(5):
        p.add_side(index * 100 * MS, str(index))
    p.add_primary(100 * MS, "gone", now=0.0)  # the ring holds 2, 3, 4
    assert list(p.ready(0.0)) == [Pair("gone", None, 0)]
    for index in range(4):
        p.add_primary((1000 + index * 100) * MS, str(index), now=0.0)
    assert [pair.primary for pair in p.ready(0.0)] == ["0", "1"]


def test_settings_may_change_while_frames_wait():
    p = pairer()
    p.add_primary(100 * MS, "x", now=0.0)
    p.missing = "skip"
    assert list(p.ready(1.0)) == [Pair("x", None, 0, skip=True)]
    p.slop_s = 0.5
    p.add_side(300 * MS, "far")
    p.add_primary(0, "y", now=1.0)
    assert list(p.ready(1.0)) == [Pair("y", "far", 300 * MS)]


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
