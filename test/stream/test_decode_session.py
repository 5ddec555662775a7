import math

import numpy as np
import pytest

from mdic_ros.codec import SideView, inspect
from mdic_ros.errors import ImageError
from mdic_ros.stream import DecodeSession, DecodeSettings
from mdic_ros.stream.events import Event
from mdic_ros.stream.reports import StreamInfo
from mdic_ros.stream.vertical_disparity import VerticalDisparityTracker

MS = 1_000_000
T0 = 10**18


@pytest.fixture(scope="module")
def packets(encoder, views) -> list[bytes]:
    return [encoder.encode_all(left, rate_point=1)[-1] for left, _ in views]


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def session(decoder, events) -> DecodeSession:
    return DecodeSession(decoder, DecodeSettings(caption="a street"), tell=events.append)


def stream_info(decoder, **changes) -> StreamInfo:
    fields = {
        "height": 64,
        "width": 128,
        "coded_height": 64,
        "coded_width": 128,
        "encoding": "rgb8",
        "model_id": decoder.model_id,
        "fingerprint": decoder.fingerprint,
        "stream_version": 1,
        "rate_points": decoder.rate_points,
    }
    return StreamInfo(**{**fields, **changes})


def test_a_picture_is_the_decoders_and_its_report_tells_how(session, decoder, packets, views):
    session.push_side(views[0][1], T0 - MS, 10.0)
    assert session.push_packet(packets[0], 7, T0, 10.1, tag="header")
    (picture,) = session.poll(10.2)
    expected = decoder.decode(packets[0], [SideView(views[0][1])], caption="a street")
    np.testing.assert_array_equal(picture.image, expected.image)
    np.testing.assert_array_equal(picture.mask, expected.mask)
    assert (picture.tag, picture.stamp_ns, picture.info) == ("header", T0, None)
    report = picture.report
    assert (report.sequence, report.bytes, report.rate_point, report.cut) == (7, len(packets[0]), 1, False)
    assert report.side_used and report.side_offset_ms == pytest.approx(-1.0)
    assert report.bpp == pytest.approx(8 * len(packets[0]) / (64 * 128))
    assert report.caption == "a street"
    assert report.queue_ms == pytest.approx(100.0)
    stages = report.entropy_ms + report.caption_ms + report.side_ms + report.denoise_ms + report.pixels_ms
    assert 0 < stages <= report.decode_ms
    assert math.isnan(report.age_ms)
    assert session.poll(11.0) == []


def test_sessions_share_a_decoder_and_nothing_else(decoder, packets, views):
    one = DecodeSession(decoder, DecodeSettings(caption=""))
    other = DecodeSession(decoder, DecodeSettings(caption="", side_wait_s=0.0))
    one.push_side(views[0][1], T0, 0.0)
    one.push_packet(packets[0], 0, T0, 0.0)
    other.push_packet(packets[0], 5, T0, 0.0)
    assert [picture.report.side_used for picture in one.poll(0.0)] == [True]
    assert [picture.report.side_used for picture in other.poll(0.0)] == [False]


def test_all_packets_are_decoded_or_live_the_newest_alone(decoder, packets):
    settings = DecodeSettings(caption="", side_wait_s=0.0)
    every, live = DecodeSession(decoder, settings), DecodeSession(decoder, settings, live=True)
    for session in (every, live):
        for index in range(4):
            session.push_packet(packets[index], index, T0 + index, 0.0)
    assert [picture.report.sequence for picture in every.poll(0.0)] == [0, 1, 2, 3]
    assert [picture.report.sequence for picture in live.poll(0.0)] == [3]
    assert live.drops.by_cause() == {"overtaken": 3}
    live.push_packet(packets[5], 5, T0 + 5, 0.1)
    live.push_packet(packets[4], 4, T0 + 4, 0.1)  # comes last, and is older
    assert [picture.report.sequence for picture in live.poll(0.1)] == [5]
    assert live.sequence.lost == 0


def test_policies_for_a_missing_side_image(decoder, packets, views):
    session = DecodeSession(decoder, DecodeSettings(caption="", on_missing_side="skip", side_wait_s=0.0))
    session.push_packet(packets[0], 0, T0, 0.0)
    assert session.poll(0.0) == []
    assert session.drops.by_cause() == {"no_side_image": 1}
    assert session.pairing_problem == "there is no side image"
    session.settings = DecodeSettings(caption="", on_missing_side="last", side_wait_s=0.0)
    session.push_side(views[2][1], T0 - 300 * MS, 0.0)
    session.push_packet(packets[1], 1, T0, 0.0)
    (picture,) = session.poll(0.0)
    assert picture.report.side_offset_ms == pytest.approx(-300.0)
    assert picture.report.drops_total == 1


def test_what_is_wrong_with_the_clocks_is_said(decoder, packets, views):
    session = DecodeSession(decoder, DecodeSettings(caption="", side_wait_s=0.0))
    session.push_side(views[0][1], T0 + 700 * MS, 0.0)
    session.push_packet(packets[0], 0, T0, 0.0)
    session.poll(0.0)
    assert "the nearest is +0.700 s off" in session.pairing_problem
    assert session.without_side == 1


def test_forged_and_damaged_packets_cost_no_statistic(session, packets):
    session.settings = DecodeSettings(caption="", side_wait_s=0.0)
    session.push_packet(packets[0], 0, T0, 0.0)
    assert len(session.poll(0.0)) == 1
    assert not session.push_packet(b"", 2**31, T0 + 1, 0.0)
    assert not session.push_packet(b"\xff" * 40, 2**31, T0 + 1, 0.0)
    damaged = bytearray(packets[1])
    damaged[5] ^= 0xFF
    session.push_packet(bytes(damaged), 2**30, T0 + 1, 0.0)
    session.push_packet(packets[2], 2**31, T0 + 2, 0.0)  # whole, with a forged number
    session.push_packet(packets[3], 1, T0 + 3, 0.0)
    assert [picture.report.sequence for picture in session.poll(0.0)] == [2**31, 1]
    assert (session.sequence.lost, session.sequence.restarts) == (0, 0)
    assert session.drops.by_cause() == {"damaged": 3}


def forged(packet: bytes) -> bytes:
    """A packet with a good header and a payload that is none."""
    return packet[:3] + b"x" * 12


def test_live_a_forged_packet_does_not_displace_a_real_one(decoder, packets):
    session = DecodeSession(decoder, DecodeSettings(caption="", side_wait_s=0.0), live=True)
    for data, sequence in ((packets[0], 5), (forged(packets[0]), 1000), (forged(packets[0]), 3)):
        session.push_packet(data, sequence, T0 + sequence, 0.0)
    assert [picture.report.sequence for picture in session.poll(0.0)] == [5]
    assert session.drops.by_cause() == {"damaged": 1, "overtaken": 1}  # behind the picture nobody looked
    session.push_packet(forged(packets[0]), 7, T0 + 7, 0.1)
    assert session.poll(0.1) == []  # nothing has overtaken it
    assert session.drops.by_cause() == {"damaged": 2, "overtaken": 1}


@pytest.mark.parametrize("number", [2**31 + 5, 2**31 + 6, 2**32 - 1])
def test_live_the_order_of_real_packets_does_not_depend_on_a_forged_number(decoder, packets, number):
    session = DecodeSession(decoder, DecodeSettings(caption="", side_wait_s=0.0), live=True)
    for data, sequence in ((forged(packets[0]), number), (packets[1], 6), (packets[2], 5)):
        session.push_packet(data, sequence, T0 + sequence % 100, 0.0)
    assert [picture.report.sequence for picture in session.poll(0.0)] == [6]


def test_numbers_of_damaged_packets_hide_no_loss(session, packets):
    session.settings = DecodeSettings(caption="", side_wait_s=0.0)
    session.push_packet(packets[0], 0, T0, 0.0)
    for sequence in (2, 2, 2, 3, 4):
        session.push_packet(forged(packets[0]), sequence, T0 + 1, 0.0)
        session.push_packet(b"", sequence + 3, T0 + 1, 0.0)
    session.push_packet(packets[1], 10, T0 + 2, 0.0)
    assert len(session.poll(0.0)) == 2
    assert session.sequence.lost == 9


def test_a_packet_longer_than_any_of_its_size_is_refused_at_once(session, decoder, packets, events):
    most = decoder.max_bytes(inspect(packets[0]))
    assert len(packets[0]) < most < 10_000
    assert session.push_packet(packets[0][:3] + bytes(most - 3), 0, T0, 0.0)
    assert not session.push_packet(packets[0][:3] + bytes(most - 2), 1, T0, 0.0)
    assert session.drops.by_cause() == {"damaged": 1}
    assert f"it has {most + 1} bytes, one with its header {most} at most" in events[0].text


def test_a_forged_size_does_not_shrink_side_images(decoder, encoder):
    rng = np.random.default_rng(1)
    large = np.repeat(np.repeat(rng.integers(0, 256, (16, 32, 3), np.uint8), 8, 0), 8, 1)
    data = encoder.encode(large, rate_point=1)
    small = encoder.encode(large[:64, :128].copy(), rate_point=1)
    session = DecodeSession(decoder, DecodeSettings(caption="", rectify=False, side_wait_s=0.0))
    session.push_packet(forged(small), 0, T0, 0.0)
    session.push_side(large, T0, 0.0)
    assert session.poll(0.0) == []
    session.push_packet(data, 1, T0, 0.1)
    session.push_packet(forged(small), 2, T0, 0.1)
    (picture,) = session.poll(0.1)
    np.testing.assert_array_equal(picture.image, decoder.decode(data, [SideView(large)], caption="").image)
    session.push_side(large, T0 + 100 * MS, 0.2)
    session.poll(0.2)
    assert [side.image.shape for side in session._history if side.image is not None] == [(128, 256, 3)] * 2


def test_stamps_of_forged_and_repeated_packets_say_nothing_about_the_camera(session, packets, events):
    session.settings = DecodeSettings(caption="", side_wait_s=0.0)
    for index in range(6):
        for data in (packets[index], packets[index], forged(packets[index])):  # a relay sends each twice
            session.push_packet(data, index, T0 + index * 100 * MS, index * 0.1)
        assert len(session.poll(index * 0.1)) == 1
    assert session.drops.by_cause() == {"damaged": 6, "duplicate": 6}
    assert [event.kind for event in events if event.kind != "damaged"] == []


def test_packets_whose_camera_stamps_each_frame_twice_are_paired_by_arrival(session, packets, events):
    session.settings = DecodeSettings(caption="", side_wait_s=0.0)
    for index in range(8):
        session.push_packet(packets[index], index, T0 + index // 2 * 100 * MS, index * 0.1)
        session.poll(index * 0.1)
    assert [event.kind for event in events] == ["stamps"]
    assert "stamps of the packets are repeated" in session.pairing_problem


def test_duplicates_and_late_packets_are_refused(session, packets):
    session.settings = DecodeSettings(caption="", side_wait_s=0.0)
    for data, sequence in ((0, 0), (2, 2), (1, 1), (2, 2)):
        session.push_packet(packets[data], sequence, T0 + sequence, 0.0)
    assert [picture.report.sequence for picture in session.poll(0.0)] == [0, 2]
    assert session.drops.by_cause() == {"duplicate": 1, "out_of_order": 1}


def test_a_size_that_was_not_announced_is_not_decoded(session, decoder, packets, encoder):
    large = packets[0][:2] + b"\0" + (2047 << 12 | 2047).to_bytes(3, "big") + packets[0][3:]
    assert not session.push_packet(large, 0, T0, 0.0)
    assert session.drops.by_cause() == {"damaged": 1}
    session.settings = DecodeSettings(caption="", max_pixels=2048 * 2048)
    assert session.push_packet(large, 0, T0, 0.0)  # what is in it turns out to be damaged, later
    session.push_info(stream_info(decoder))
    assert not session.push_packet(large, 1, T0, 0.0)
    assert session.push_packet(packets[0], 2, T0, 0.0)


def test_another_model_is_refused_until_the_right_one_comes(session, decoder, packets, events):
    wrong = f"{(int(decoder.fingerprint[:2], 16) + 1) % 256:02x}" + decoder.fingerprint[2:]
    session.push_info(stream_info(decoder, model_id="other", fingerprint=wrong))
    assert not session.push_packet(packets[0], 0, T0, 0.0)
    assert session.drops.by_cause() == {"wrong_model": 1}
    session.push_info(stream_info(decoder))
    assert session.push_packet(packets[0], 1, T0, 0.0)
    assert [(event.severity, event.kind) for event in events] == [
        ("error", "model"),
        ("warning", "wrong_model"),
        ("info", "model"),
    ]


def test_forged_fingerprints_between_good_packets_change_nothing_but_their_count(session, packets, events):
    session.settings = DecodeSettings(caption="", side_wait_s=0.0)
    pictures = []
    for index in range(6):
        forged = bytes([packets[0][0], packets[0][1] ^ (index + 1)]) + packets[0][2:]
        assert not session.push_packet(forged, index, T0 + index, 0.0)
        assert session.push_packet(packets[index], index, T0 + index, 0.0)
        pictures += session.poll(0.0)
        assert session.guard.problem == ""
    assert [picture.report.sequence for picture in pictures] == list(range(6))
    assert session.drops.by_cause() == {"wrong_model": 6}
    # The first packet came before any that was checked, so the model was in doubt until then.
    assert [(event.severity, event.kind) for event in events if not event.one_frame] == [("info", "model")]


def test_a_damaged_side_image_costs_the_side_image_alone(session, packets, events):
    def load() -> np.ndarray:
        raise ImageError("right.png: damaged")

    session.push_side(load, T0, 0.0)
    session.push_packet(packets[0], 0, T0, 0.0)
    (picture,) = session.poll(0.0)
    assert not picture.report.side_used
    assert session.unusable_sides == 1
    assert [(event.kind, event.one_frame) for event in events] == [("bad_side_image", True)]


def test_a_side_image_of_another_shape_is_warned_of_once(session, decoder, packets, views, events):
    square = np.zeros((128, 128, 3), np.uint8)
    for index in range(3):
        session.push_side(square, T0 + index, index * 0.1)
        session.push_packet(packets[index], index, T0 + index, index * 0.1)
        assert len(session.poll(index * 0.1)) == 1
    assert len(events) == 1 and "128x128 (height x width)" in events[0].text
    double = np.repeat(np.repeat(views[3][1], 2, 0), 2, 1)  # larger, but of the same shape
    session.push_side(double, T0 + 3, 0.3)
    session.push_packet(packets[3], 3, T0 + 3, 0.3)
    assert session.poll(0.3)[0].report.side_used
    assert len(events) == 1


def test_frozen_stamps_are_told_and_paired_by_arrival(session, decoder, packets, views, events):
    pictures = []
    for index in range(6):
        session.push_side(views[index][1], T0, index * 1.0)
        session.push_packet(packets[index], index, T0 + index * 1000 * MS, index * 1.0)
        pictures += session.poll(index * 1.0 + 0.01)
    assert any("repeated" in event.text and "paired by arrival" in event.text for event in events)
    last = next(picture for picture in pictures if picture.report.sequence == 5)
    expected = decoder.decode(packets[5], [SideView(views[5][1])], caption="a street")
    np.testing.assert_array_equal(last.image, expected.image)
    assert "repeated" in session.pairing_problem


def test_rows_are_measured_on_ten_frames_and_then_corrected(decoder, encoder, views):
    session = DecodeSession(decoder, DecodeSettings(caption=""))
    tracker = VerticalDisparityTracker(decoder)
    for index in range(12):
        left, right = views[index]
        data = encoder.encode(right, rate_point=1, view="right")
        parsed = decoder.read(data)
        view = SideView(left, tracker.row_offset(parsed, left))
        session.push_side(left, T0 + index, index * 0.1)
        session.push_packet(data, index, T0 + index, index * 0.1)
        (picture,) = session.poll(index * 0.1)
        np.testing.assert_array_equal(picture.image, decoder.decode(parsed, [view], caption="").image)
    assert session.rows == tracker.likely


def test_side_images_are_kept_at_the_coded_size_and_within_their_memory(decoder, packets, views):
    settings = DecodeSettings(caption="", side_history_mb=2.0, side_wait_s=0.0)
    session = DecodeSession(decoder, settings)
    session.push_info(stream_info(decoder))
    large = np.repeat(np.repeat(views[0][1], 8, 0), 8, 1)  # 1.6 MB
    for index in range(100):
        session.push_side(large, T0 + index * 10 * MS, index * 0.01)
        session.poll(index * 0.01)
    kept = list(session._history)
    assert 10 < len(kept) <= 2_000_000 // (64 * 128 * 3)
    assert {side.image.shape for side in kept if side.image is not None} == {(64, 128, 3)}


def test_what_is_not_loaded_yet_counts_with_its_source(decoder, views):
    session = DecodeSession(decoder, DecodeSettings(caption="", side_history_mb=2.0))
    for index in range(20):  # nobody polls: the decoder is busy
        session.push_side(lambda: views[0][1], T0 + index, index * 0.1, source_bytes=500_000)
    assert len(list(session._history)) == 4
