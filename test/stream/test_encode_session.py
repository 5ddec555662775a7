import numpy as np
import pytest

from mdic_ros.codec import inspect
from mdic_ros.errors import ImageError
from mdic_ros.stream import CodedFrame, EncodeSession, EncodeSettings, Refused
from mdic_ros.stream.encode_session import coded_size
from mdic_ros.stream.events import Event
from mdic_ros.stream.stamp_watch import StampWatch

MS = 1_000_000


class Calibration:
    def __init__(self, focal: float) -> None:
        self.focal = focal

    def same_as(self, other: "Calibration") -> bool:
        return self.focal == other.focal


def test_a_packet_is_what_the_encoder_makes(encoder, views):
    session = EncodeSession(encoder)
    for index, (left, _) in enumerate(views[:3]):
        frame = session.push(left, 10**18 + index, index * 0.1)
        assert isinstance(frame, CodedFrame)
        assert frame.data == encoder.encode(left)
        assert (frame.sequence, frame.rate_point, frame.size) == (index, encoder.rate_points - 1, (64, 128))
        assert (frame.info is not None) == (index == 0)
    assert session.sent == 3


def test_sessions_share_an_encoder_and_nothing_else(encoder, views):
    one, other = EncodeSession(encoder), EncodeSession(encoder, EncodeSettings(rate_point=0, view="right"))
    first, second = one.push(views[0][0], 1, 0.0), other.push(views[0][1], 1, 0.0)
    assert isinstance(first, CodedFrame) and isinstance(second, CodedFrame)
    assert inspect(second.data).view == "right"
    assert second.rate_point == 0 < first.rate_point
    assert (first.sequence, second.sequence) == (0, 0)
    assert second.info is not None


def test_stream_info_comes_with_the_first_packet_and_with_every_change(encoder, views):
    session = EncodeSession(encoder)
    image, stamps = views[0][0], iter(range(1, 100))

    def told(**options):
        frame = session.push(image, next(stamps), 0.0, **options)
        assert isinstance(frame, CodedFrame)
        return frame.info

    info = told(calibration=Calibration(50.0))
    assert info is not None
    assert (info.height, info.width, info.coded_height, info.coded_width) == (64, 128, 64, 128)
    assert (info.model_id, info.fingerprint) == (encoder.model_id, encoder.fingerprint)
    assert (info.encoding, info.rate_points, info.stream_version) == ("rgb8", encoder.rate_points, 1)
    assert told(calibration=Calibration(50.0)) is None
    assert told(calibration=Calibration(60.0)) is not None
    assert told() is not None  # the calibration is gone
    assert told(encoding="mono8") is not None
    session.settings = EncodeSettings(coded_height=128)
    changed = told(encoding="mono8")
    assert changed is not None and (changed.coded_height, changed.coded_width) == (128, 256)
    assert (changed.height, changed.width) == (64, 128)


@pytest.mark.parametrize(
    "settings, expected",
    [
        (EncodeSettings(), (375, 1242)),
        (EncodeSettings(coded_height=128), (128, 424)),
        (EncodeSettings(coded_width=416), (126, 416)),
        (EncodeSettings(coded_height=128, coded_width=256), (128, 256)),
        (EncodeSettings(coded_width=212), (64, 212)),
    ],
)
def test_one_side_alone_keeps_the_aspect_ratio(settings, expected):
    assert coded_size(375, 1242, settings) == expected


@pytest.mark.parametrize(
    "shape, name, given, made, lowest, highest",
    [
        ((1242, 375), "coded_height", 64, "coded_width 19", 423, 4096),
        ((375, 1242), "coded_width", 128, "coded_height 39", 211, 4096),
        ((375, 1242), "coded_height", 2000, "coded_width 6624", 64, 1236),
    ],
)
def test_a_size_that_would_not_keep_the_aspect_ratio_is_refused(shape, name, given, made, lowest, highest):
    with pytest.raises(ImageError, match=f"{name} = {given} makes {made}, .* or {name} from {lowest} to {highest}$"):
        coded_size(*shape, EncodeSettings(**{name: given}))
    for good in (lowest, highest):
        height, width = coded_size(*shape, EncodeSettings(**{name: good}))
        assert height / width == pytest.approx(shape[0] / shape[1], rel=0.01)
    if lowest > 64:
        with pytest.raises(ImageError):
            coded_size(*shape, EncodeSettings(**{name: lowest - 1}))
    if highest < 4096:
        with pytest.raises(ImageError):
            coded_size(*shape, EncodeSettings(**{name: highest + 1}))


def test_an_image_that_no_one_side_fits_needs_both():
    with pytest.raises(ImageError, match=r"set both$"):
        coded_size(64, 8000, EncodeSettings(coded_height=64))
    assert coded_size(64, 8000, EncodeSettings(coded_height=64, coded_width=4096)) == (64, 4096)


def test_frames_of_such_a_size_are_refused_with_the_remedy(encoder):
    session = EncodeSession(encoder, EncodeSettings(coded_height=64))
    refused = session.push(np.zeros((256, 128, 3), np.uint8), 1, 0.0)
    assert isinstance(refused, Refused) and "coded_height from 255 to 4096" in refused.text


def test_a_bad_image_costs_itself_alone(encoder, views):
    events: list[Event] = []
    session = EncodeSession(encoder, tell=events.append)

    def damaged() -> np.ndarray:
        raise ImageError("image: damaged")

    for stamp, source in enumerate((views[0][0][:16], views[0][0].astype(np.float32), damaged), 1):
        refused = session.push(source, stamp, 0.0)
        assert isinstance(refused, Refused) and refused.cause == "bad_image"
    assert session.drops.by_cause() == {"bad_image": 3}
    assert [event.kind for event in events] == ["bad_image"] * 3
    frame = session.push(views[0][0], 2, 0.1)
    assert isinstance(frame, CodedFrame) and frame.sequence == 0


def test_limits_hold(encoder, views):
    sizes = [len(packet) for packet in encoder.encode_all(views[0][0])]
    session = EncodeSession(encoder, EncodeSettings(max_bytes_per_frame=sizes[1]))
    frame = session.push(views[0][0], 1, 0.0)
    assert isinstance(frame, CodedFrame) and frame.rate_point == 1
    session.settings = EncodeSettings(max_bytes_per_frame=sizes[0] - 1)
    refused = session.push(views[0][0], 2, 0.1)
    assert isinstance(refused, Refused) and refused.cause == "over_max_bytes"
    assert f"{sizes[0]} bytes" in refused.text


def test_a_bit_rate_is_kept(encoder, views):
    session = EncodeSession(encoder, EncodeSettings(target_bitrate_kbps=2.0, window_s=1.0))
    sent = []
    for index in range(60):
        frame = session.push(views[index % 12][0], index + 1, index * 0.1)
        if isinstance(frame, CodedFrame):
            sent.append((index * 0.1, len(frame.data)))
    for now, _ in sent:
        assert sum(size for time, size in sent if now - 1.0 < time <= now) <= 250
    assert len(sent) > 30


def test_the_frame_rate_limit_is_counted(encoder):
    session = EncodeSession(encoder, EncodeSettings(max_rate_hz=5.0))
    admitted = [session.admit(index * 0.1) for index in range(10)]
    assert admitted == [True, False] * 5
    assert session.drops.by_cause() == {"over_max_rate": 5}


@pytest.mark.parametrize("stamp, word", [(0, "all zero"), (77, "repeated")])
def test_stamps_that_say_nothing_are_told_once(encoder, views, stamp, word):
    events: list[Event] = []
    session = EncodeSession(encoder, EncodeSettings(rate_point=0), tell=events.append)
    for index in range(5):
        session.push(views[0][0], stamp, index * 0.1)
    assert [event.severity for event in events] == ["warning"]
    assert word in events[0].text and "header.stamp" in events[0].text
    assert session.stamp_problem == word
    for index in range(StampWatch.WINDOW):
        session.push(views[0][0], 10**18 + index, 1 + index * 0.1)
    assert session.stamp_problem == ""
    assert events[-1].severity == "info"
