"""Recordings through the codec without ROS: bag in, bag of packets, bag of pictures."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mdic_ros.cli.describe import describe_bag
from mdic_ros.cli.offline import decode_bag, encode_recording
from mdic_ros.codec import Decoder, Encoder, SideView, inspect
from mdic_ros.codec.images import resize_image
from mdic_ros.datasets import CameraInfo, DatasetError, open_stereo, write_bag
from mdic_ros.datasets.bag import BagReader
from mdic_ros.datasets.bag_writer import BagWriter
from mdic_ros.datasets.images import encode_image, from_image_message
from mdic_ros.datasets.messages import (
    BITSTREAM,
    make,
    make_camera_info,
    make_compressed_image,
    make_header,
    make_image,
    stamp_ns,
)
from mdic_ros.datasets.timing import payload_kbps
from mdic_ros.stream import DecodeSettings, EncodeSettings

MS = 1_000_000
START = 1_317_042_272_345_808_896
SIZE = (64, 128)
CODED = EncodeSettings(coded_height=64, coded_width=128)
P = [[200.0, 0, 80, 0], [0, 200, 40, 0], [0, 0, 1, 0]]


def picture(seed: int) -> np.ndarray:
    """A smooth random picture, 80 x 160 x 3 uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 9, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((160, 80), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def encoder(tiny_bundle: Path) -> Encoder:
    return Encoder.from_pretrained(tiny_bundle)


@pytest.fixture(scope="module")
def decoder(tiny_bundle: Path) -> Decoder:
    return Decoder.from_pretrained(tiny_bundle)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag of four stereo frames at 10 Hz, 80x160, the right camera half a millisecond early."""
    path = tmp_path_factory.mktemp("offline") / "street"
    with BagWriter(path) as writer:
        for index in range(4):
            for side, early in (("right", 500_000), ("left", 0)):
                stamp = START + index * 100 * MS - early
                header = make_header(stamp, f"stereo_{side}")
                image = picture(index if side == "left" else index + 10)
                writer.write(f"/stereo/{side}/image_raw", make_image(header, image, "bgr8"), stamp)
                info = CameraInfo.rectified(80, 160, P)
                writer.write(f"/stereo/{side}/camera_info", make_camera_info(header, info), stamp)
    return path


def read(path: Path, topic: str) -> list[Any]:
    with BagReader(path) as reader:
        return [reader.decode(message) for message in reader.messages([topic])]


def packets(path: Path, topic: str = "/stereo/left/bitstream") -> list[bytes]:
    return [bytes(message.data) for message in read(path, topic)]


def rewrite(path: Path, output: Path, change: Any) -> Path:
    """A copy of a bag in which ``change(topic, message)`` replaced messages; None leaves one out."""
    with BagReader(path) as reader, BagWriter(output) as writer:
        for message in reader.messages():
            changed = change(message.topic, reader.decode(message))
            if changed is not None:
                writer.write(message.topic, changed, message.time_ns)
    return output


class TestEncode:
    def test_bag_holds_what_decoding_needs(self, street: Path, tmp_path: Path, encoder: Encoder) -> None:
        summary = encode_recording(street, tmp_path / "c", encoder, CODED)
        with BagReader(tmp_path / "c") as reader:
            assert {name: topic.count for name, topic in reader.topics.items()} == {
                "/stereo/left/bitstream": 4,
                "/stereo/left/stream_info": 1,
                "/stereo/right/image_raw": 4,
                "/stereo/right/camera_info": 4,
            }
            order = [message.topic for message in reader.messages()]
        assert order.index("/stereo/left/stream_info") < order.index("/stereo/left/bitstream")
        assert len(summary.sizes) == 4
        assert summary.sizes == [len(packet) for packet in packets(tmp_path / "c")]
        assert summary.failures == []
        assert summary.kbps == pytest.approx(summary.mean_bytes * 8 / 1000 * 10)
        assert summary.bpp == pytest.approx(8 * summary.mean_bytes / (64 * 128))

    def test_packets_are_those_of_the_encoder(self, street: Path, tmp_path: Path, encoder: Encoder) -> None:
        encode_recording(street, tmp_path / "c", encoder, CODED)
        for index, packet in enumerate(packets(tmp_path / "c")):
            assert packet == encoder.encode(resize_image(picture(index), *SIZE))

    def test_the_right_camera(
        self, street: Path, tmp_path: Path, encoder: Encoder, decoder: Decoder, capsys: pytest.CaptureFixture[str]
    ) -> None:
        encode_recording(street, tmp_path / "c", encoder, replace(CODED, view="right"))
        with BagReader(tmp_path / "c") as reader:
            assert {name: topic.count for name, topic in reader.topics.items()} == {
                "/stereo/right/bitstream": 4,
                "/stereo/right/stream_info": 1,
                "/stereo/left/image_raw": 4,
                "/stereo/left/camera_info": 4,
            }
        for index, packet in enumerate(packets(tmp_path / "c", "/stereo/right/bitstream")):
            assert packet == encoder.encode(resize_image(picture(index + 10), *SIZE), view="right")
        messages = read(tmp_path / "c", "/stereo/right/bitstream")
        assert [stamp_ns(m.header) for m in messages] == [START + i * 100 * MS - 500_000 for i in range(4)]
        assert {m.header.frame_id for m in messages} == {"stereo_right"}
        describe_bag(tmp_path / "c")
        told = capsys.readouterr().out
        assert "4 packets of the right camera" in told and "right minus left -0.500 ms" in told
        summary = decode_bag(tmp_path / "c", tmp_path / "d", decoder, DecodeSettings(caption=""))
        assert summary.without_side == 0
        first = from_image_message(read(tmp_path / "d", "/stereo/right/image_reconstructed")[0], "first")
        side = resize_image(picture(0), *SIZE)
        expected = decoder.decode(bytes(messages[0].data), [SideView(side)], caption="").image
        np.testing.assert_array_equal(first, expected)

    def test_a_recording_of_the_right_camera_alone(self, street: Path, tmp_path: Path, encoder: Encoder) -> None:
        alone = rewrite(street, tmp_path / "alone", lambda topic, message: message if "right" in topic else None)
        options = {"right_topic": "/stereo/right/image_raw"}
        encode_recording(alone, tmp_path / "c", encoder, replace(CODED, view="right"), **options)
        assert len(packets(tmp_path / "c", "/stereo/right/bitstream")) == 4
        with pytest.raises(DatasetError):
            encode_recording(alone, tmp_path / "d", encoder, CODED, **options)

    def test_the_right_camera_of_files(self, street: Path, tmp_path: Path, encoder: Encoder) -> None:
        for index in range(2):
            for side, offset in (("left", 0), ("right", 10)):
                file = tmp_path / "pairs" / side / f"{index}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture(index + offset)).save(file)
        encode_recording(tmp_path / "pairs", tmp_path / "c", encoder, EncodeSettings(view="right"))
        assert packets(tmp_path / "c", "/stereo/right/bitstream") == [
            encoder.encode(picture(index + 10), view="right") for index in range(2)
        ]
        (kept, _) = read(tmp_path / "c", "/stereo/left/image_raw/compressed")
        assert bytes(kept.data) == (tmp_path / "pairs" / "left" / "0.png").read_bytes()

    def test_headers_are_copied_and_frames_counted(self, street: Path, tmp_path: Path, encoder: Encoder) -> None:
        encode_recording(street, tmp_path / "c", encoder, CODED)
        messages = read(tmp_path / "c", "/stereo/left/bitstream")
        assert [stamp_ns(m.header) for m in messages] == [START + i * 100 * MS for i in range(4)]
        assert {m.header.frame_id for m in messages} == {"stereo_left"}
        assert [m.sequence for m in messages] == [0, 1, 2, 3]

    def test_stream_info(self, street: Path, tmp_path: Path, encoder: Encoder) -> None:
        encode_recording(street, tmp_path / "c", encoder, CODED)
        (info,) = read(tmp_path / "c", "/stereo/left/stream_info")
        assert (info.height, info.width, info.coded_height, info.coded_width) == (80, 160, *SIZE)
        assert (info.encoding, info.model_id, info.fingerprint) == (
            "bgr8",
            encoder.model_id,
            encoder.fingerprint,
        )
        assert info.rate_points == encoder.rate_points
        assert info.stream_version == inspect(packets(tmp_path / "c")[0]).version
        assert (info.camera_info.width, info.camera_info.k[0]) == (160, 200.0)  # at the source size

    def test_side_messages_pass_byte_by_byte(self, street: Path, tmp_path: Path, encoder: Encoder) -> None:
        encode_recording(street, tmp_path / "c", encoder, CODED)
        topics = ["/stereo/right/image_raw", "/stereo/right/camera_info"]
        with BagReader(street) as before, BagReader(tmp_path / "c") as after:
            assert list(before.messages(topics)) == list(after.messages(topics))

    def test_rate_options(self, street: Path, tmp_path: Path, encoder: Encoder) -> None:
        coarse = encode_recording(street, tmp_path / "a", encoder, replace(CODED, rate_point=0))
        fine = encode_recording(street, tmp_path / "b", encoder, CODED)
        assert set(coarse.rate_points) == {0}
        assert set(fine.rate_points) == {encoder.rate_points - 1}
        budget = max(coarse.sizes)
        small = encode_recording(street, tmp_path / "d", encoder, replace(CODED, max_bytes_per_frame=budget))
        assert max(small.sizes) <= budget

    def test_frames_over_budget_are_left_out(self, street: Path, tmp_path: Path, encoder: Encoder) -> None:
        with pytest.raises(DatasetError, match="not one frame could be encoded"):
            encode_recording(street, tmp_path / "c", encoder, replace(CODED, max_bytes_per_frame=1))
        assert not (tmp_path / "c").exists()

    def test_bag_and_files_give_the_same_packets(self, tmp_path: Path, encoder: Encoder) -> None:
        for side in ("left", "right"):
            (tmp_path / "f" / side).mkdir(parents=True)
            for index in range(2):
                Image.fromarray(picture(index)).save(tmp_path / "f" / side / f"{index}.png")
        write_bag(open_stereo(tmp_path / "f"), tmp_path / "bag", storage="sqlite3")
        encode_recording(tmp_path / "f", tmp_path / "a", encoder, CODED)
        encode_recording(tmp_path / "bag", tmp_path / "b", encoder, CODED)
        assert packets(tmp_path / "a") == packets(tmp_path / "b")
        (side, *_) = read(tmp_path / "a", "/stereo/right/image_raw/compressed")
        assert bytes(side.data) == (tmp_path / "f" / "right" / "0.png").read_bytes()

    def test_size_changes_are_announced(self, tmp_path: Path, encoder: Encoder) -> None:
        for side in ("left", "right"):
            (tmp_path / "f" / side).mkdir(parents=True)
            for index, size in enumerate(((160, 80), (160, 80), (150, 80))):
                image = Image.fromarray(picture(index)).resize(size)
                image.save(tmp_path / "f" / side / f"{index}.png")
        encode_recording(tmp_path / "f", tmp_path / "c", encoder)
        infos = read(tmp_path / "c", "/stereo/left/stream_info")
        assert [info.width for info in infos] == [160, 150]

    def test_one_broken_image(self, street: Path, tmp_path: Path, encoder: Encoder) -> None:
        def change(topic: str, message: Any) -> Any:
            if topic == "/stereo/left/image_raw" and stamp_ns(message.header) == START + 100 * MS:
                message.data = message.data[:-1]
            return message

        broken = rewrite(street, tmp_path / "broken", change)
        summary = encode_recording(broken, tmp_path / "c", encoder, CODED)
        assert len(summary.sizes) == 3
        assert len(summary.failures) == 1
        assert [m.sequence for m in read(tmp_path / "c", "/stereo/left/bitstream")] == [0, 1, 2]

    @pytest.mark.parametrize("cut", [False, True])
    def test_a_bad_calibration_is_left_out(
        self, street: Path, tmp_path: Path, encoder: Encoder, cut: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        with BagReader(street) as reader, BagWriter(tmp_path / "b") as writer:
            for message in reader.messages():
                data = message.data
                if message.topic == "/stereo/left/camera_info" and cut:
                    writer.write_bytes(message.topic, message.msgtype, data[:60], message.time_ns)
                elif message.topic == "/stereo/left/camera_info":
                    info = reader.decode(message)
                    info.p = np.full(12, np.nan)
                    writer.write(message.topic, info, message.time_ns)
                else:
                    writer.write_bytes(message.topic, message.msgtype, data, message.time_ns)
        summary = encode_recording(tmp_path / "b", tmp_path / "c", encoder, CODED)
        assert len(summary.sizes) == 4 and summary.failures == []
        (said,) = caplog.messages if cut else summary.notes
        assert "the calibration in /stereo/left/camera_info is not used" in said
        (stream_info,) = read(tmp_path / "c", "/stereo/left/stream_info")
        assert stream_info.camera_info.p[0] == 0.0  # unknown

    def test_left_camera_alone(self, street: Path, tmp_path: Path, encoder: Encoder) -> None:
        lonely = rewrite(street, tmp_path / "l", lambda topic, m: m if "left" in topic else None)
        with pytest.raises(DatasetError, match="no stereo pair"):
            encode_recording(lonely, tmp_path / "c", encoder)
        summary = encode_recording(lonely, tmp_path / "c", encoder, CODED, left_topic="/stereo/left/image_raw")
        assert len(summary.sizes) == 4


@pytest.fixture(scope="module")
def coded(street: Path, encoder: Encoder) -> Path:
    """The street encoded at 64x128."""
    path = street.parent / "coded"
    encode_recording(street, path, encoder, CODED)
    return path


class TestDecode:
    def test_topics_headers_and_sizes(self, coded: Path, tmp_path: Path, decoder: Decoder) -> None:
        summary = decode_bag(coded, tmp_path / "d", decoder)
        names = ("image_reconstructed", "mask", "camera_info", "report")
        got = {name: read(tmp_path / "d", f"/stereo/left/{name}") for name in names}
        assert [len(messages) for messages in got.values()] == [4] * 4
        assert summary.without_side == 0
        for messages in got.values():
            assert [stamp_ns(m.header) for m in messages] == [START + i * 100 * MS for i in range(4)]
            assert messages[0].header.frame_id == "stereo_left"
        image, mask, info, report = (messages[1] for messages in got.values())
        assert (image.height, image.width, image.encoding, image.step) == (*SIZE, "rgb8", 3 * 128)
        assert (mask.height, mask.width, mask.encoding) == (*SIZE, "mono8")
        assert (info.height, info.width) == SIZE
        assert info.k[0] == pytest.approx(200 * 0.8)
        assert report.side_used
        assert report.side_offset_ms == pytest.approx(-0.5)
        assert report.bytes == len(packets(coded)[1])
        assert report.bpp == pytest.approx(8 * report.bytes / (64 * 128))
        assert report.sequence == 1
        assert math.isnan(report.age_ms)

    def test_pictures_are_those_of_the_decoder(self, coded: Path, tmp_path: Path, decoder: Decoder) -> None:
        decode_bag(coded, tmp_path / "d", decoder, DecodeSettings(steps=2, seed=5))
        got = from_image_message(read(tmp_path / "d", "/stereo/left/image_reconstructed")[0], "x")
        side = resize_image(picture(10), *SIZE)
        expected = decoder.decode(packets(coded)[0], [SideView(side)], steps=2, seed=5)
        np.testing.assert_array_equal(got, expected.image)

    def test_twice_the_same(
        self, coded: Path, street: Path, tmp_path: Path, encoder: Encoder, decoder: Decoder
    ) -> None:
        encode_recording(street, tmp_path / "again", encoder, CODED)
        assert packets(tmp_path / "again") == packets(coded)
        for name in ("a", "b"):
            decode_bag(coded, tmp_path / name, decoder)
        for topic in ("image_reconstructed", "mask", "camera_info"):
            with BagReader(tmp_path / "a") as a, BagReader(tmp_path / "b") as b:
                names = [f"/stereo/left/{topic}"]
                assert list(a.messages(names)) == list(b.messages(names))

    def test_captions(self, coded: Path, tmp_path: Path, decoder: Decoder) -> None:
        def captions(name: str, **options: Any) -> list[str]:
            decode_bag(coded, tmp_path / name, decoder, DecodeSettings(**options))
            return [report.caption for report in read(tmp_path / name, "/stereo/left/report")]

        sides = [resize_image(picture(10 + i), *SIZE) for i in range(4)]
        assert captions("a", caption_every=1) == [decoder.caption(side) for side in sides]
        assert captions("b", caption_every=3) == [decoder.caption(sides[i]) for i in (0, 0, 0, 3)]
        assert captions("c", caption="a red car") == ["a red car"] * 4

    def test_without_side_images(self, coded: Path, tmp_path: Path, decoder: Decoder) -> None:
        alone = rewrite(coded, tmp_path / "alone", lambda topic, m: m if "left" in topic else None)
        summary = decode_bag(alone, tmp_path / "d", decoder)
        assert summary.without_side == 4
        report = read(tmp_path / "d", "/stereo/left/report")[0]
        assert not report.side_used
        assert math.isnan(report.side_offset_ms)
        assert report.caption == ""

    def test_side_images_out_of_slop(self, coded: Path, tmp_path: Path, decoder: Decoder) -> None:
        summary = decode_bag(coded, tmp_path / "d", decoder, DecodeSettings(sync_slop_s=0.0001))
        assert summary.without_side == 4

    @pytest.mark.parametrize("stamp", [0, 5 * MS])
    def test_stamps_that_say_nothing_pair_by_recording_time(
        self, street: Path, tmp_path: Path, encoder: Encoder, decoder: Decoder, stamp: int
    ) -> None:
        """A driver that leaves header.stamp empty, or writes the same one all the time."""

        def change(topic: str, message: Any) -> Any:
            message.header = make_header(stamp, message.header.frame_id)
            return message

        frozen = rewrite(street, tmp_path / "frozen", change)
        summary = encode_recording(frozen, tmp_path / "c", encoder, CODED)
        assert len(summary.notes) == 1 and "header.stamp" in summary.notes[0]
        summary = decode_bag(tmp_path / "c", tmp_path / "d", decoder, DecodeSettings(caption="", rectify=False))
        assert summary.without_side == 0
        assert any("paired by arrival" in note for note in summary.notes)
        for index, message in enumerate(read(tmp_path / "d", "/stereo/left/image_reconstructed")):
            side = SideView(resize_image(picture(index + 10), *SIZE))
            expected = decoder.decode(packets(tmp_path / "c")[index], [side], caption="").image
            np.testing.assert_array_equal(from_image_message(message, "x"), expected)

    def test_images_without_partner_are_counted(
        self, street: Path, tmp_path: Path, encoder: Encoder, decoder: Decoder
    ) -> None:
        def change(topic: str, message: Any) -> Any:
            gone = topic == "/stereo/right/image_raw" and stamp_ns(message.header) < START
            return None if gone else message

        summary = encode_recording(rewrite(street, tmp_path / "less", change), tmp_path / "c", encoder, CODED)
        assert summary.unpaired == (1, 0)
        assert decode_bag(tmp_path / "c", tmp_path / "d", decoder).without_side == 1

    def test_broken_side_image_counts_as_missing(self, coded: Path, tmp_path: Path, decoder: Decoder) -> None:
        def change(topic: str, message: Any) -> Any:
            if topic == "/stereo/right/image_raw" and stamp_ns(message.header) < START:
                message.step = 1
            return message

        summary = decode_bag(rewrite(coded, tmp_path / "b", change), tmp_path / "d", decoder)
        assert len(summary.sizes) == 4
        assert summary.without_side == 1
        assert len(summary.failures) == 1

    def test_bad_packets_are_left_out(self, coded: Path, tmp_path: Path, decoder: Decoder) -> None:
        def change(topic: str, message: Any) -> Any:
            if topic.endswith("bitstream") and message.sequence in (0, 2):
                message.data = np.zeros(0 if message.sequence else 40, np.uint8)
            return message

        summary = decode_bag(rewrite(coded, tmp_path / "b", change), tmp_path / "d", decoder)
        assert len(summary.sizes) == 2
        assert len(summary.failures) == 2
        reports = read(tmp_path / "d", "/stereo/left/report")
        assert [(r.sequence, r.drops_total) for r in reports] == [(1, 1), (3, 2)]

    def test_cut_packets_decode_coarser(self, coded: Path, tmp_path: Path, encoder: Encoder, decoder: Decoder) -> None:
        def change(topic: str, message: Any) -> Any:
            if topic.endswith("bitstream"):
                message.data = message.data[:-1]
            return message

        decode_bag(rewrite(coded, tmp_path / "b", change), tmp_path / "d", decoder)
        for report in read(tmp_path / "d", "/stereo/left/report"):
            assert report.cut
            assert report.rate_point < encoder.rate_points - 1

    def test_another_model_is_refused(self, coded: Path, tmp_path: Path, decoder: Decoder) -> None:
        def change(topic: str, message: Any) -> Any:
            if topic.endswith("stream_info"):
                message.fingerprint, message.model_id = "0" * 64, "mdic_other"
            return message

        with pytest.raises(DatasetError, match=r"mdic_other.*--model"):
            decode_bag(rewrite(coded, tmp_path / "b", change), tmp_path / "d", decoder)
        assert not (tmp_path / "d").exists()

    @pytest.mark.parametrize("change", [{"encoding": "x" * 99}, {"fingerprint": "?"}, {"k": np.full(9, np.nan)}, {}])
    def test_a_bad_stream_info_costs_itself_alone(
        self, coded: Path, tmp_path: Path, decoder: Decoder, change: dict[str, Any]
    ) -> None:
        """Out of range or (without a change) cut off; before the good one, and in the middle of the packets."""
        with BagReader(coded) as reader, BagWriter(tmp_path / "b") as writer:
            for message in reader.messages():
                writer.write_bytes(message.topic, message.msgtype, message.data, message.time_ns)
                if not message.topic.endswith("stream_info"):
                    continue
                bad = reader.decode(message)
                for name, value in change.items():
                    setattr(bad.camera_info if name == "k" else bad, name, value)
                for time_ns in (message.time_ns - 1, message.time_ns + 150 * MS):
                    if change:
                        writer.write(message.topic, bad, time_ns)
                    else:
                        writer.write_bytes(message.topic, message.msgtype, message.data[:-40], time_ns)
        describe_bag(tmp_path / "b")  # whatever is in it
        summary = decode_bag(tmp_path / "b", tmp_path / "d", decoder)
        assert (len(summary.sizes), summary.without_side) == (4, 0)
        assert [text.split(" recorded at")[0] for text in summary.failures] == ["stream_info"] * 2
        assert len(read(tmp_path / "d", "/stereo/left/camera_info")) == 4  # by the good one

    def test_packets_after_a_stream_info_of_another_model_are_counted(
        self, coded: Path, tmp_path: Path, decoder: Decoder
    ) -> None:
        with BagReader(coded) as reader, BagWriter(tmp_path / "b") as writer:
            for message in reader.messages():
                writer.write_bytes(message.topic, message.msgtype, message.data, message.time_ns)
                if message.topic.endswith("stream_info"):
                    other = reader.decode(message)
                    other.fingerprint, other.model_id = "0" * 64, "mdic_other"
                    writer.write(message.topic, other, message.time_ns + 150 * MS)
        summary = decode_bag(tmp_path / "b", tmp_path / "d", decoder)
        assert len(summary.sizes) == 2
        assert len(summary.failures) == 2 and all("packet dropped (wrong_model)" in text for text in summary.failures)
        assert len(summary.notes) == 1 and "mdic_other" in summary.notes[0]

    def test_packets_of_another_model_without_stream_info_are_counted(
        self, coded: Path, tmp_path: Path, decoder: Decoder
    ) -> None:
        def change(topic: str, message: Any) -> Any:
            if topic.endswith("bitstream") and message.sequence < 3:
                data = message.data.copy()
                data[1] ^= 0xFF
                message.data = data
            return None if topic.endswith("stream_info") else message

        summary = decode_bag(rewrite(coded, tmp_path / "b", change), tmp_path / "d", decoder)
        assert len(summary.sizes) == 1
        assert len(summary.failures) == 3 and "fingerprint begins with" in summary.failures[0]

    def test_without_stream_info(self, coded: Path, tmp_path: Path, decoder: Decoder) -> None:
        """Geometry and check symbols travel in the packets; only the calibration is lost."""
        bare = rewrite(coded, tmp_path / "b", lambda topic, m: None if topic.endswith("stream_info") else m)
        decode_bag(bare, tmp_path / "d", decoder)
        with BagReader(tmp_path / "d") as reader:
            assert "/stereo/left/camera_info" not in reader.topics
            assert reader.topics["/stereo/left/image_reconstructed"].count == 4

    def test_late_stream_info(self, coded: Path, tmp_path: Path, decoder: Decoder) -> None:
        """A recorder of live topics may get the latched message after the first packets."""
        late = tmp_path / "late"
        with BagReader(coded) as reader, BagWriter(late) as writer:
            for message in reader.messages():
                time_ns = message.time_ns + (150 * MS if message.topic.endswith("stream_info") else 0)
                writer.write_bytes(message.topic, message.msgtype, message.data, time_ns)
        decode_bag(late, tmp_path / "d", decoder)
        assert len(read(tmp_path / "d", "/stereo/left/camera_info")) == 4

    def test_bags_without_or_with_several_streams(
        self, street: Path, coded: Path, tmp_path: Path, decoder: Decoder
    ) -> None:
        with pytest.raises(DatasetError, match="mdic encode"):
            decode_bag(street, tmp_path / "d", decoder)
        two = tmp_path / "two"
        with BagReader(coded) as reader, BagWriter(two) as writer:
            for message in reader.messages():
                for prefix in ("", "/rear"):
                    writer.write_bytes(prefix + message.topic, message.msgtype, message.data, message.time_ns)
        with pytest.raises(DatasetError, match="--topic"):
            decode_bag(two, tmp_path / "d", decoder)
        decode_bag(two, tmp_path / "d", decoder, topic="/rear/stereo/left/bitstream")
        assert len(read(tmp_path / "d", "/rear/stereo/left/mask")) == 4

    def test_side_topic_by_hand(self, coded: Path, tmp_path: Path, decoder: Decoder) -> None:
        with pytest.raises(DatasetError, match=r"/nothing.*/stereo/right/image_raw"):
            decode_bag(coded, tmp_path / "d", decoder, side="/nothing")
        extra = tmp_path / "extra"
        with BagReader(coded) as reader, BagWriter(extra) as writer:
            for message in reader.messages():
                topic = message.topic.replace("/stereo/right", "/cam1")
                writer.write_bytes(topic, message.msgtype, message.data, message.time_ns)
            header = make_header(START, "x")
            other = make_compressed_image(header, "png", encode_image(picture(99), "png"))
            writer.write("/rear/image/compressed", other, START)
        assert decode_bag(extra, tmp_path / "a", decoder).without_side == 4  # which one is it?
        assert decode_bag(extra, tmp_path / "b", decoder, side="/cam1/image_raw").without_side == 0


def test_packets_of_nowhere(tmp_path: Path, decoder: Decoder) -> None:
    with BagWriter(tmp_path / "b") as writer:
        message = make(BITSTREAM, header=make_header(1, ""), sequence=0, data=np.full(9, 255, np.uint8))
        writer.write("/bitstream", message, 1)
    with pytest.raises(DatasetError, match="not one frame could be decoded"):
        decode_bag(tmp_path / "b", tmp_path / "d", decoder)
    assert not (tmp_path / "d").exists()


def test_payload_rate() -> None:
    assert payload_kbps([100, 100, 100], [0, 100 * MS, 200 * MS]) == pytest.approx(8.0)
    assert math.isnan(payload_kbps([100], [0]))
    assert math.isnan(payload_kbps([100, 100], [5, 5]))
