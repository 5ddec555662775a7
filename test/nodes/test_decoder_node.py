import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run through `make test`")
pytest.importorskip("mdic_ros.msg", reason="needs the built messages: run through `make test`")

import array

from diagnostic_msgs.msg import DiagnosticArray
from mdic_ros.msg import Bitstream, DecodeReport, StreamInfo
from ros_bench import BEST_EFFORT, LATCHED, Bench, compressed, header, pixels, raw
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mdic_ros.codec import Decoder, Encoder, SideView
from mdic_ros.datasets.messages import stamp_ns
from mdic_ros.nodes.decoder_node import DecoderNode
from mdic_ros.nodes.runtime import StartError
from mdic_ros.stream.vertical_disparity import VerticalDisparityTracker

pytestmark = pytest.mark.ros

SIZE = (64, 128)
MS = 1_000_000


@pytest.fixture(scope="module")
def views(textures) -> list[tuple[np.ndarray, np.ndarray]]:
    scene = textures(*SIZE)
    return [tuple(map(np.ascontiguousarray, next(scene))) for _ in range(3)]


@pytest.fixture(scope="module")
def decoder(tiny_bundle) -> Decoder:
    return Decoder.from_pretrained(tiny_bundle)


@pytest.fixture(scope="module")
def packets(tiny_bundle, views) -> list[bytes]:
    encoder = Encoder.from_pretrained(tiny_bundle)
    return [encoder.encode_all(left)[-1] for left, _ in views]


class Link:
    """A decoder node, and everything around it in the test's hands."""

    def __init__(self, bench: Bench, bundle, *, side_type=Image, side_topic="/right/image_raw", **parameters):
        self.bench = bench
        self.bitstream = bench.publisher(Bitstream, "/left/bitstream", BEST_EFFORT)
        self.info = bench.publisher(StreamInfo, "/left/stream_info", LATCHED)
        self.side = bench.publisher(side_type, side_topic, BEST_EFFORT)
        self.images = bench.listen(Image, "/left/image_reconstructed")
        self.masks = bench.listen(Image, "/left/mask")
        self.infos = bench.listen(CameraInfo, "/left/camera_info")
        self.reports = bench.listen(DecodeReport, "/left/report")
        self.node = bench.start(
            DecoderNode,
            "__ns:=/left",
            "side/image:=/right/image_raw",
            model=str(bundle),
            **{"caption": "a street", "side_wait_s": 0.05, **parameters},
        )
        bench.settle()

    def announce(self, decoder: Decoder, **changes) -> None:
        fields = {
            "header": header(0),
            "height": SIZE[0],
            "width": SIZE[1],
            "coded_height": SIZE[0],
            "coded_width": SIZE[1],
            "encoding": "rgb8",
            "model_id": decoder.model_id,
            "fingerprint": decoder.fingerprint,
            "stream_version": 1,
            "rate_points": decoder.rate_points,
            "camera_info": CameraInfo(
                height=SIZE[0],
                width=SIZE[1],
                k=[50.0, 0, 63.5, 0, 50, 31.5, 0, 0, 1],
                p=[50.0, 0, 63.5, 0, 0, 50, 31.5, 0, 0, 0, 1, 0],
            ),
        }
        self.info.publish(StreamInfo(**{**fields, **changes}))

    def send(self, data: bytes, stamp_ms: float, sequence: int) -> None:
        self.bitstream.publish(Bitstream(header=header(stamp_ms), sequence=sequence, data=array.array("B", data)))

    def decoded(self, count: int) -> None:
        """Wait for the count-th picture with all that belongs to it (the report is published last)."""
        self.bench.wait(
            lambda: len(self.reports) == len(self.masks) == len(self.images) == count,
            f"{len(self.images)} pictures, {count} wanted; drops: {self.drops}",
        )

    @property
    def drops(self) -> dict[str, int]:
        return self.node._session.drops.by_cause()

    def dropped(self, drops: dict[str, int]) -> None:
        self.bench.wait(lambda: self.drops == drops, f"{self.drops} instead of {drops}")


def test_the_picture_is_the_codecs_and_everything_about_it_is_told(bench, tiny_bundle, decoder, packets, views):
    link = Link(bench, tiny_bundle)
    link.announce(decoder)
    link.side.publish(raw(views[0][1], 999.5))
    link.send(packets[0], 1000, 7)
    link.decoded(1)
    expected = decoder.decode(packets[0], [SideView(views[0][1])], caption="a street")
    image, mask, report = link.images[0], link.masks[0], link.reports[0]
    np.testing.assert_array_equal(pixels(image), expected.image)
    np.testing.assert_array_equal(pixels(mask), expected.mask)
    assert (image.encoding, mask.encoding) == ("rgb8", "mono8")
    for message in (image, mask, report):
        assert stamp_ns(message.header) == 1000 * MS
        assert message.header.frame_id == "left_optical"
    assert (report.sequence, report.bytes, report.rate_point) == (7, len(packets[0]), expected.rate_point)
    assert (report.caption, report.cut, report.side_used) == ("a street", False, True)
    assert report.side_offset_ms == pytest.approx(-0.5)
    assert report.bpp == pytest.approx(8 * len(packets[0]) / (SIZE[0] * SIZE[1]))
    assert report.decode_ms >= report.pixels_ms > 0
    assert math.isnan(report.age_ms)  # 1970 and now are not of one clock
    bench.wait(lambda: link.infos, "no camera_info")
    assert (link.infos[0].k[0], stamp_ns(link.infos[0].header)) == (50.0, 1000 * MS)


@pytest.mark.parametrize("rectify", [True, False])
def test_rows_are_measured_on_ten_frames_and_then_corrected(bench, tiny_bundle, decoder, views, rectify):
    encoder, tracker = Encoder.from_pretrained(tiny_bundle), VerticalDisparityTracker(decoder)
    link = Link(bench, tiny_bundle, rectify=rectify)
    link.announce(decoder)
    for number in range(12):
        left, right = views[number % 3]
        data = encoder.encode(right, view="right")  # the packet says so: the decoder has no parameter for it
        parsed = decoder.read(data)
        rows = tracker.row_offset(parsed, left) if rectify else 0.0
        link.side.publish(raw(left, 1000 + number))
        link.send(data, 1000 + number, number)
        link.decoded(number + 1)
        expected = decoder.decode(parsed, [SideView(left, rows)], caption="a street")
        np.testing.assert_array_equal(pixels(link.images[-1]), expected.image)
    assert link.node._session.rows == tracker.likely


def test_age_is_told_when_the_clocks_match(bench, tiny_bundle, packets):
    link = Link(bench, tiny_bundle, side_wait_s=0.0)
    link.send(packets[0], bench.node.get_clock().now().nanoseconds / MS, 0)
    link.decoded(1)
    assert 0 < link.reports[0].age_ms < 60_000
    assert link.infos == []  # nobody has said anything about the camera


def test_waits_for_a_side_image_that_comes_later(bench, tiny_bundle, packets, views):
    link = Link(bench, tiny_bundle, side_wait_s=10.0)
    link.send(packets[0], 1000, 0)
    bench.wait(lambda: link.node._input.rate_hz > 0, "no packet")
    link.side.publish(raw(views[0][1], 1010))
    link.decoded(1)
    assert link.reports[0].side_used
    assert link.reports[0].side_offset_ms == pytest.approx(10.0)


def test_policies_for_a_missing_side_image(bench, tiny_bundle, decoder, packets, views):
    link = Link(bench, tiny_bundle, on_missing_side="none")
    link.send(packets[0], 1000, 0)
    link.decoded(1)
    assert not link.reports[0].side_used
    assert math.isnan(link.reports[0].side_offset_ms)
    assert not pixels(link.masks[0]).any()
    np.testing.assert_array_equal(pixels(link.images[0]), decoder.decode(packets[0], caption="a street").image)
    assert bench.set_parameters(link.node, on_missing_side="skip") == []
    link.send(packets[1], 1100, 1)
    link.dropped({"no_side_image": 1})
    assert bench.set_parameters(link.node, on_missing_side="last") == []
    link.side.publish(raw(views[2][1], 900))
    bench.wait(lambda: link.node._side_input.rate_hz > 0, "no side image")
    link.send(packets[2], 1200, 2)
    link.decoded(2)
    assert link.reports[1].side_used
    assert link.reports[1].side_offset_ms == pytest.approx(-300.0)
    assert link.reports[1].drops_total == 1
    assert "none | last | skip" in bench.set_parameters(link.node, on_missing_side="guess")[0]


@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_compressed_side_images(bench, tiny_bundle, decoder, packets, views, form):
    link = Link(
        bench,
        tiny_bundle,
        side_type=CompressedImage,
        side_topic="/right/image_raw/compressed",
        side_transport="compressed",
        side_wait_s=10.0,
    )
    link.side.publish(compressed(views[0][1], 1000, form))
    link.send(packets[0], 1000, 0)
    link.decoded(1)
    assert link.reports[0].side_used
    if form == "png":
        expected = decoder.decode(packets[0], [SideView(views[0][1])], caption="a street")
        np.testing.assert_array_equal(pixels(link.images[0]), expected.image)
    link.side.publish(CompressedImage(header=header(1100), format="png", data=b"rubbish"))
    link.send(packets[1], 1100, 1)
    link.decoded(2)
    assert not link.reports[1].side_used  # a bad side image costs the side image, not the frame
    assert link.node._session.unusable_sides == 1


def test_side_image_and_calibration_of_another_size(bench, tiny_bundle, decoder, packets, views):
    link = Link(bench, tiny_bundle, side_wait_s=10.0)
    link.announce(decoder, height=2 * SIZE[0], width=2 * SIZE[1], camera_info=CameraInfo(
        height=2 * SIZE[0], width=2 * SIZE[1], k=[100.0, 0, 127.5, 0, 100, 63.5, 0, 0, 1],
        p=[100.0, 0, 127.5, -50, 0, 100, 63.5, 0, 0, 0, 1, 0],
    ))  # fmt: skip
    link.side.publish(raw(np.repeat(np.repeat(views[0][1], 2, 0), 2, 1), 1000))
    link.send(packets[0], 1000, 0)
    link.decoded(1)
    assert link.reports[0].side_used
    assert (link.images[0].height, link.images[0].width) == SIZE
    bench.wait(lambda: link.infos, "no camera_info")
    info = link.infos[0]
    assert (info.height, info.width, info.k[0], info.p[3]) == (*SIZE, 50.0, -25.0)
    assert info.k[2] == pytest.approx(63.5)


def test_a_wrong_model_is_refused_until_the_right_one_comes(bench, tiny_bundle, decoder, packets, capfd):
    link = Link(bench, tiny_bundle, side_wait_s=0.0)
    statuses = bench.listen(DiagnosticArray, "/diagnostics")
    wrong = f"{(int(decoder.fingerprint[:2], 16) + 1) % 256:02x}" + decoder.fingerprint[2:]
    link.announce(decoder, model_id="other", fingerprint=wrong)
    bench.wait(lambda: link.node._session.guard.problem, "the announcement is not believed")
    for index in range(3):
        link.send(packets[0], 1000 + index * 100, index)
    link.dropped({"wrong_model": 3})
    bench.wait(lambda: statuses and statuses[-1].status[0].level == b"\x02", "no error in the diagnostics")
    assert "the stream is of the model other" in statuses[-1].status[0].message
    link.announce(decoder)
    bench.wait(lambda: not link.node._session.guard.problem, "the right model is not believed")
    link.send(packets[0], 2000, 3)
    link.decoded(1)
    foreign = bytes([packets[0][0], int(wrong[:2], 16)]) + packets[0][2:]
    link.send(foreign, 2100, 4)
    link.dropped({"wrong_model": 4})
    link.send(packets[1], 2200, 5)
    link.decoded(2)
    told = capfd.readouterr().err
    assert told.count(": the stream is of the model other") == 2  # what has come, and what is done with its packets
    assert told.count("packet dropped (wrong_model)") >= 1


def test_damaged_cut_repeated_and_late_packets(bench, tiny_bundle, packets):
    link = Link(bench, tiny_bundle, side_wait_s=0.0)
    link.send(packets[0], 1000, 0)
    link.decoded(1)
    link.send(b"", 1100, 1)
    link.dropped({"damaged": 1})
    flipped = bytearray(packets[1])
    flipped[5] ^= 0xFF
    link.send(bytes(flipped), 1200, 2)
    link.dropped({"damaged": 2})
    link.send(packets[2], 1500, 5)
    link.decoded(2)
    link.send(packets[1], 1400, 4)
    link.dropped({"damaged": 2, "out_of_order": 1})
    link.send(packets[2], 1500, 5)
    link.dropped({"damaged": 2, "duplicate": 1, "out_of_order": 1})
    assert link.node._session.sequence.lost == 3  # 1 and 2 did not come whole, 3 not at all; 4 was late
    link.send(packets[0], 1600, 0)  # the encoder was restarted
    link.decoded(3)
    assert [report.drops_total for report in link.reports] == [0, 2, 4]


def test_a_packet_of_another_size_than_announced_costs_no_work(bench, tiny_bundle, decoder, packets):
    link = Link(bench, tiny_bundle, side_wait_s=0.0)
    link.announce(decoder)
    bench.wait(lambda: link.node._session.info is not None, "no StreamInfo")
    huge = packets[0][:2] + b"\0" + (4095 << 12 | 4095).to_bytes(3, "big") + packets[0][3:]
    link.send(huge, 1000, 0)
    link.dropped({"damaged": 1})
    link.send(packets[1], 1100, 1)
    link.decoded(1)


def test_a_frame_id_that_is_a_book_is_not_kept(bench, tiny_bundle, decoder, packets):
    link = Link(bench, tiny_bundle, side_wait_s=0.0)
    book = header(1000)
    book.frame_id = "x" * 257
    link.announce(decoder, header=book)
    link.bitstream.publish(Bitstream(header=book, sequence=0, data=array.array("B", packets[0])))
    link.dropped({"damaged": 1})
    link.send(packets[1], 1100, 1)
    link.decoded(1)
    assert link.node._session.info is None


def test_a_stream_of_another_container_version_is_refused(bench, tiny_bundle, decoder, packets):
    link = Link(bench, tiny_bundle, side_wait_s=0.0)
    link.announce(decoder, stream_version=2)
    bench.wait(lambda: link.node._session.info is not None, "no StreamInfo")
    link.send(packets[0], 1000, 0)
    link.dropped({"wrong_model": 1})
    link.announce(decoder)
    bench.wait(lambda: not link.node._session.guard.problem, "the right version is refused")
    link.send(packets[1], 1100, 1)
    link.decoded(1)


def test_a_cut_packet_is_a_coarser_picture(bench, tiny_bundle, decoder, packets):
    link = Link(bench, tiny_bundle, side_wait_s=0.0)
    cut = packets[0][: len(packets[0]) * 2 // 3]
    expected = decoder.decode(cut, caption="a street")
    link.send(cut, 1000, 0)
    link.decoded(1)
    np.testing.assert_array_equal(pixels(link.images[0]), expected.image)
    assert (link.reports[0].cut, link.reports[0].rate_point) == (True, expected.rate_point)
    assert expected.rate_point < decoder.rate_points - 1


def test_parameters_change_while_running(bench, tiny_bundle, decoder, packets, views):
    link = Link(bench, tiny_bundle, on_missing_side="last")
    link.side.publish(raw(views[0][1], 1000))
    bench.wait(lambda: link.node._side_input.rate_hz > 0, "no side image")
    link.send(packets[0], 1000, 0)
    link.decoded(1)
    assert bench.set_parameters(link.node, caption="two people in fog", steps=2, seed=5) == []
    link.send(packets[0], 1100, 1)
    link.decoded(2)
    expected = decoder.decode(packets[0], [SideView(views[0][1])], caption="two people in fog", steps=2, seed=5)
    np.testing.assert_array_equal(pixels(link.images[1]), expected.image)
    assert link.reports[1].caption == "two people in fog"
    assert bench.set_parameters(link.node, caption="auto", caption_every=2) == []
    for index in range(2, 5):
        link.send(packets[0], 1000 + index * 100, index)
        link.decoded(index + 1)
    assert [report.caption for report in link.reports[2:]] == [decoder.caption(views[0][1])] * 3
    captioned = [report.caption_ms for report in link.reports[2:]]
    assert captioned[0] > captioned[1] < captioned[2]  # the second of them used the caption of the first
    for number, words in ((5, "none"), (6, "")):
        assert bench.set_parameters(link.node, caption=words) == []
        link.send(packets[0], 1000 + number * 100, number)
        link.decoded(number + 1)
        assert link.reports[-1].caption == ""
    assert "Min: 1, Max: 100" in bench.set_parameters(link.node, steps=0)[0]


def test_diagnostics_tell_what_is_missing(bench, tiny_bundle, decoder, packets, views):
    link = Link(bench, tiny_bundle)
    statuses = bench.listen(DiagnosticArray, "/diagnostics")
    bench.wait(lambda: statuses and statuses[-1].status[0].level == b"\x01", "no warning in the diagnostics")
    status = statuses[-1].status[0]
    assert (status.name, status.hardware_id) == ("/left/decoder: stream", decoder.model_id)
    assert "no bitstream on /left/bitstream" in status.message
    link.announce(decoder)
    link.side.publish(raw(views[0][1], 1000))
    link.send(packets[0], 1000, 0)
    link.decoded(1)
    bench.wait(lambda: statuses[-1].status[0].level == b"\x00", statuses[-1].status[0].message)
    values = {entry.key: entry.value for entry in statuses[-1].status[0].values}
    assert values["model"] == decoder.model_id
    assert float(values["packets in (Hz)"]) > 0
    assert float(values["payload in (kbit/s)"]) > 0


def test_says_why_it_cannot_start(bench):
    with pytest.raises(StartError, match="/nowhere"):
        bench.start(DecoderNode, model="/nowhere")
