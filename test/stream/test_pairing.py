import numpy as np
import pytest

from mdic_ros.stream.pairing import Pair, Pairer, SideHistory, SideImage

MS = 1_000_000
IMAGE = np.zeros((2, 4, 3), np.uint8)


def pairer(missing="none", slop_s=0.03, wait_s=0.1, history_s=10.0) -> Pairer[str]:
    return Pairer(slop_s, wait_s, missing, SideHistory(history_s, 10**9))


def side(stamp_ms: float, arrival: float | None = None) -> SideImage:
    return SideImage(round(stamp_ms * MS), stamp_ms / 1e3 if arrival is None else arrival, IMAGE)


def add(p: Pairer[str], *stamps_ms: float) -> list[SideImage]:
    sides = [side(stamp) for stamp in stamps_ms]
    for one in sides:
        p.add_side(one)
    return sides


def test_takes_the_nearest_side_image_within_the_slop():
    p = pairer()
    sides = add(p, 0, 99, 110, 200)
    p.add_primary(100 * MS, "x", now=0.0)
    assert list(p.ready(0.0)) == [Pair("x", sides[1], -1 * MS)]
    assert p.next_deadline is None


def test_the_newest_wins_on_a_tie():
    p = pairer()
    sides = add(p, 90, 110, 90)  # a recording in a loop: the same stamp again
    p.add_primary(100 * MS, "x", now=0.0)
    assert [pair.side for pair in p.ready(1.0)] == [sides[2]]


@pytest.mark.parametrize("offset_ms, within", [(30, True), (-30, True), (31, False), (-31, False)])
def test_the_slop_is_inclusive(offset_ms, within):
    p = pairer()
    sides = add(p, 1000 + offset_ms)
    p.add_primary(1000 * MS, "x", now=0.0)
    assert [pair.side for pair in p.ready(1.0)] == (sides if within else [None])


def test_waits_for_a_later_side_image():
    p = pairer()
    p.add_primary(100 * MS, "x", now=5.0)
    assert list(p.ready(5.0)) == []
    assert p.next_deadline == pytest.approx(5.1)
    (late,) = add(p, 101)
    assert list(p.ready(5.05)) == [Pair("x", late, 1 * MS)]


def test_waits_for_a_nearer_one_of_a_fast_camera():
    """At 60 Hz the image before the right one is within the slop already."""
    p = pairer()
    add(p, 50, 66.7, 83.3)
    p.add_primary(100 * MS, "x", now=5.0)
    assert list(p.ready(5.0)) == []
    (right,) = add(p, 100)
    assert list(p.ready(5.01)) == [Pair("x", right, 0)]


def test_takes_the_one_before_when_no_nearer_one_comes():
    p = pairer()
    sides = add(p, 50, 66.7, 83.3)
    p.add_primary(100 * MS, "x", now=5.0)
    assert [pair.side for pair in p.ready(5.2)] == [sides[2]]


def test_gives_up_at_the_deadline():
    p = pairer()
    p.add_primary(100 * MS, "x", now=5.0)
    assert list(p.ready(5.0999)) == []
    assert list(p.ready(5.1001)) == [Pair("x", None, 0)]


def test_does_not_wait_once_the_side_camera_has_passed():
    p = pairer()
    p.add_primary(100 * MS, "x", now=5.0)
    add(p, 200)
    assert list(p.ready(5.0)) == [Pair("x", None, 0)]


def test_waits_when_the_history_holds_the_end_of_the_last_round():
    """A recording starts again: side images of its end, far ahead, say nothing about its start."""
    p = pairer()
    p.add_side(side(60_000, arrival=4.0))
    p.add_primary(1 * MS, "x", now=5.0)
    assert list(p.ready(5.0)) == []
    start = side(1, arrival=5.0)
    p.add_side(start)
    assert list(p.ready(5.01)) == [Pair("x", start, 0)]


@pytest.mark.parametrize("missing", ["none", "skip", "last"])
def test_policies_for_a_missing_side_image(missing):
    p = pairer(missing)
    sides = add(p, 50, 100)
    p.add_primary(1000 * MS, "x", now=0.0)
    expected = {
        "none": Pair("x", None, 0),
        "skip": Pair("x", None, 0, skip=True),
        "last": Pair("x", sides[1], -900 * MS),
    }
    assert list(p.ready(1.0)) == [expected[missing]]


def test_last_without_any_side_image_decodes_without():
    p = pairer("last")
    p.add_primary(1, "x", now=0.0)
    assert list(p.ready(1.0)) == [Pair("x", None, 0)]


def test_frames_leave_in_order_of_arrival():
    p = pairer()
    p.add_primary(100 * MS, "x", now=0.0)
    p.add_primary(200 * MS, "y", now=0.05)
    (of_y,) = add(p, 200)
    assert list(p.ready(0.06)) == [Pair("x", None, 0), Pair("y", of_y, 0)]


def test_the_queue_is_bounded():
    p = pairer(wait_s=1000.0)
    for index in range(Pairer.MOST_WAITING + 3):
        p.add_primary((1000 + index) * MS, str(index), now=0.0)
    assert [pair.primary for pair in p.ready(0.0)] == ["0", "1", "2"]


def test_settings_may_change_while_frames_wait():
    p = pairer()
    p.add_primary(100 * MS, "x", now=0.0)
    p.missing = "skip"
    assert list(p.ready(1.0)) == [Pair("x", None, 0, skip=True)]
    p.slop_s = 0.5
    (far,) = add(p, 400)
    p.add_primary(100 * MS, "y", now=1.0)
    assert list(p.ready(1.0)) == [Pair("y", far, 300 * MS)]


@pytest.mark.parametrize("rate_hz", [5, 10, 15, 30, 60])
@pytest.mark.parametrize("latency_s", [0.0, 0.1, 0.4, 1.0, 2.5, 5.0])
def test_late_packets_find_their_partner(rate_hz, latency_s):
    """Packets come `latency_s` after their image was taken; the right camera is stamped 0.5 ms before the left one."""
    p = pairer(history_s=6.0)
    period = 1 / rate_hz
    events = []
    for index in range(int(8 * rate_hz)):
        stamp = 100.0 + index * period
        events += [(stamp, "side", stamp - 0.0005), (stamp + latency_s, "packet", stamp)]
    found = {}
    for now, kind, stamp in sorted(events):
        if kind == "side":
            p.add_side(SideImage(round(stamp * 1e9), now, IMAGE))
        else:
            p.add_primary(round(stamp * 1e9), str(stamp), now)
        found.update({pair.primary: pair for pair in p.ready(now)})
    assert len(found) == int(8 * rate_hz)
    for pair in found.values():
        assert pair.side is not None and abs(pair.side_offset_ns + 500_000) < 1000


@pytest.mark.parametrize("side_stamp, packet_stamp", [(0, 0), (0, None), (None, 0), (77, None), (None, 77)])
def test_stamps_that_say_nothing_pair_by_arrival(side_stamp, packet_stamp):
    """None: good stamps; a number: every message of that stream has this stamp."""
    p, problems, pairs = pairer(), [], []
    for index in range(20):
        now, stamp = 5.0 + index * 0.1, 10**18 + index * 100 * MS
        stamp_of_packet = packet_stamp if packet_stamp is not None else stamp
        p.add_primary(stamp_of_packet, str(index), now)
        p.packet_stamps.add(stamp_of_packet)
        p.add_side(SideImage(side_stamp if side_stamp is not None else stamp, now + 0.001, IMAGE))
        problems.append(p.by_arrival)
        pairs += p.ready(now + 0.002)
    assert problems[-1]
    late = [pair for pair in pairs if int(pair.primary) > 3]
    assert len(late) >= 15
    for pair in late:
        assert pair.side is not None and pair.side.arrival == pytest.approx(5.001 + 0.1 * int(pair.primary))


def test_stamps_are_trusted_again_when_they_advance():
    p = pairer()
    add(p, 0, 0, 0)
    assert p.by_arrival
    changes = [p.add_side(side(1000 + 100 * index)) for index in range(20)]
    assert changes[0] and changes[-2:] == [True, False] and sum(changes) == 2  # all zero, partly zero, none
    assert not p.by_arrival


def test_history_is_kept_by_time_and_by_bytes():
    history = SideHistory(seconds=1.05, max_bytes=100 * IMAGE.nbytes)
    for index in range(20):
        history.add(SideImage(index, index * 0.1, IMAGE))
    assert [entry.stamp_ns for entry in history] == list(range(9, 20))
    history.max_bytes = 3 * IMAGE.nbytes
    for entry in history:
        entry.settle(lambda image: image)
    history.trim()
    assert [entry.stamp_ns for entry in history] == [17, 18, 19]


def test_side_images_are_loaded_once_and_a_damaged_one_says_so_once():
    calls = []

    def load():
        calls.append(1)
        raise OSError("gone")

    damaged = SideImage(1, 0.0, load)
    with pytest.raises(OSError, match="gone"):
        damaged.settle(lambda image: image)
    damaged.settle(lambda image: image)
    assert (calls, damaged.image, damaged.settled) == ([1], None, True)
