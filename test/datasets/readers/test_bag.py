from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdic_ros.datasets import CameraInfo, DatasetError, open_stereo, write_bag
from mdic_ros.datasets.bag import BagReader
from mdic_ros.datasets.bag_writer import BagWriter
from mdic_ros.datasets.images import RGB
from mdic_ros.datasets.messages import CAMERA_INFO, IMAGE, make_camera_info, make_header, make_image, typestore
from mdic_ros.errors import ImageError

SECOND = 1_000_000_000


def test_broken_image_in_a_bag(tmp_path: Path, compressed: Any) -> None:
    with BagWriter(tmp_path / "b") as writer:
        for index in range(3):
            for side in ("left", "right"):
                data = b"broken" if (index, side) == (1, "left") else None
                writer.write(f"/s/{side}/image_raw/compressed", compressed(index * SECOND, data), index * SECOND)
    with open_stereo(tmp_path / "b") as source:
        assert source.left.topic == "/s/left/image_raw"
        assert source[2].left.shape == (20, 30, 3)
        with pytest.raises(ImageError, match=r"/s/left/image_raw/compressed at 1\.0"):
            _ = source[1].left


def test_images_recorded_at_the_same_time_are_told_apart(tmp_path: Path) -> None:
    pictures: list[RGB] = [np.full((4, 6, 3), value, np.uint8) for value in (10, 20)]
    with BagWriter(tmp_path / "b") as writer:
        for index, picture in enumerate(pictures):
            for side in ("left", "right"):
                message = make_image(make_header(index * SECOND, side), picture)
                writer.write(f"/{side}/image", message, 7 * SECOND)
    with open_stereo(tmp_path / "b") as source:
        assert [int(f.right[0, 0, 0]) for f in source] == [10, 20]


def test_pairs_by_nearest_stamp(tmp_path: Path, write_pairs: Any) -> None:
    ms = 1_000_000
    write_pairs(tmp_path / "b", [0, 100 * ms, 200 * ms, 300 * ms], [1 * ms, 99 * ms, 260 * ms, 310 * ms])
    with open_stereo(tmp_path / "b") as source:
        assert [(f.stamp_ns // ms, f.right_stamp_ns // ms) for f in source] == [(0, 1), (100, 99), (300, 310)]
        assert source.unpaired == (1, 1)
    with pytest.raises(DatasetError, match="one clock"):
        write_pairs(tmp_path / "c", [0], [SECOND])
        open_stereo(tmp_path / "c")


STEP = 10**8


def steps(count: int, start: int = 10**18) -> list[int]:
    return [start + i * STEP for i in range(count)]


def shown(path: Path, **options: Any) -> list[tuple[int, int, int]]:
    """(number of the left image, number of the right image, stamp) of all frames."""
    with open_stereo(path, **options) as source:
        return [(int(f.left[0, 0, 0]), int(f.right[0, 0, 0]), f.stamp_ns) for f in source]


@pytest.mark.parametrize("count", [2, 3, 30])
def test_images_without_stamps_are_paired_by_recording_time(
    tmp_path: Path, count: int, write_pairs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    recorded = steps(count)
    write_pairs(tmp_path / "b", [0] * count, [0] * count, recorded, [time + STEP // 10 for time in recorded])
    with caplog.at_level(logging.WARNING):
        assert shown(tmp_path / "b") == [(i, i, recorded[i]) for i in range(count)]
    assert "the stamps in /stereo/left/image_raw are all zero" in caplog.text
    assert "by the times at which they were recorded" in caplog.text


def test_stamps_that_freeze_half_way(tmp_path: Path, write_pairs: Any, caplog: pytest.LogCaptureFixture) -> None:
    recorded = steps(20)
    frozen = recorded[:10] + [recorded[10]] * 10
    write_pairs(tmp_path / "b", frozen, recorded, recorded)
    with caplog.at_level(logging.WARNING):
        assert shown(tmp_path / "b") == [(i, i, recorded[i]) for i in range(20)]
    assert "the stamps in /stereo/left/image_raw are repeated" in caplog.text


def test_one_message_that_came_twice_is_no_reason(tmp_path: Path, write_pairs: Any) -> None:
    recorded = steps(20)
    write_pairs(tmp_path / "b", [*recorded[:19], recorded[18]], recorded, recorded)
    assert len(shown(tmp_path / "b")) == 19


def test_two_clocks(tmp_path: Path, write_pairs: Any, caplog: pytest.LogCaptureFixture) -> None:
    recorded = steps(10)
    write_pairs(tmp_path / "b", recorded, [time + 3600 * 10**9 for time in recorded], recorded)
    with caplog.at_level(logging.WARNING):
        assert shown(tmp_path / "b") == [(i, i, recorded[i]) for i in range(10)]
    assert "the stamps of the cameras differ: only 0 pairs" in caplog.text


def test_a_clock_that_jumps(tmp_path: Path, write_pairs: Any) -> None:
    """Both cameras go back by an hour half way: stamps still tell which images belong together."""
    recorded = steps(10)
    jumped = recorded[:5] + [time - 3600 * 10**9 for time in recorded[5:]]
    write_pairs(tmp_path / "b", jumped, jumped, recorded)
    frames = shown(tmp_path / "b")
    assert sorted(frames) == [(i, i, jumped[i]) for i in range(10)]


def test_a_clock_that_jumps_in_one_camera(tmp_path: Path, write_pairs: Any, caplog: pytest.LogCaptureFixture) -> None:
    recorded = steps(10)
    write_pairs(tmp_path / "b", recorded, recorded[:2] + [time - 3600 * 10**9 for time in recorded[2:]], recorded)
    with caplog.at_level(logging.WARNING):
        assert shown(tmp_path / "b") == [(i, i, recorded[i]) for i in range(10)]
    assert "only 2 pairs" in caplog.text


def test_images_without_partner_are_told(tmp_path: Path, write_pairs: Any, caplog: pytest.LogCaptureFixture) -> None:
    recorded = steps(10)
    write_pairs(tmp_path / "b", recorded, recorded[:7])
    with caplog.at_level(logging.WARNING), open_stereo(tmp_path / "b") as source:
        assert (len(source), source.unpaired) == (7, (3, 0))
    assert "3 images of /stereo/left/image_raw and 0 of /stereo/right/image_raw have no partner" in caplog.text


@pytest.mark.parametrize("encoding", ["8UC1", "8UC3", "bgra8"])
def test_encodings_of_drivers(tmp_path: Path, encoding: str) -> None:
    channels = {"8UC1": 1, "8UC3": 3, "bgra8": 4}[encoding]
    with BagWriter(tmp_path / "b") as writer:
        for side in ("left", "right"):
            message = make_image(make_header(1, side), np.zeros((4, 6 * channels), np.uint8), "mono8")
            message.encoding, message.width = encoding, 6
            writer.write(f"/{side}/image", message, 1)
    with open_stereo(tmp_path / "b") as source:
        assert source[0].left.shape == (4, 6, 3)
        assert source.left.encoding == ("mono8" if encoding == "8UC1" else "bgr8")


def test_a_damaged_first_message_does_not_end_it(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "b") as writer:
        for side in ("left", "right"):
            for index in range(2):
                message = make_image(make_header(index, side), np.zeros((4, 6, 3), np.uint8))
                data = bytes(typestore().serialize_cdr(message, IMAGE))
                writer.write_bytes(f"/{side}/image", IMAGE, data if index else data[:30], index)
    with open_stereo(tmp_path / "b") as source:
        assert source[1].left.shape == (4, 6, 3)
        with pytest.raises(ImageError):
            source[0].check()


def calibrated(path: Path, topic: str, d: float, turned: bool = False, baseline: float = 0.1) -> None:
    """A bag of two cameras with camera_info, 64x96."""
    angle = 0.02 if turned else 0.0
    r = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    k = np.array([[80.0, 0, 48], [0, 80, 32], [0, 0, 1]])
    with BagWriter(path) as writer:
        for side, column in (("left", 0.0), ("right", -80 * baseline)):
            p = np.hstack([k, [[column], [0], [0]]])
            info = CameraInfo(64, 96, k, p, (d, 0.0, 0.0, 0.0, 0.0), r)
            image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
            writer.write(f"/{side}/{topic}", make_image(make_header(1, side), image), 1)
            writer.write(f"/{side}/camera_info", make_camera_info(make_header(1, side), info), 1)


@pytest.mark.parametrize(("d", "turned", "why"), [(-0.3, False, "D is not 0"), (0.0, True, "R is not the identity")])
def test_unrectified_pairs_are_refused_or_rectified(tmp_path: Path, d: float, turned: bool, why: str) -> None:
    calibrated(tmp_path / "b", "image_raw", d, turned)
    with pytest.raises(DatasetError, match=rf"{why} in the camera_info of /left/image_raw.*--rectify-images"):
        open_stereo(tmp_path / "b")
    with open_stereo(tmp_path / "b", rectify_images=False) as source:  # kitti2bag writes D beside rectified images
        as_they_are = source[0].left
        assert source.left.topic == "/left/image_raw"
    pytest.importorskip("cv2")
    with open_stereo(tmp_path / "b", rectify_images=True) as source:
        frame = source[0]
        assert frame.left.shape == (64, 96, 3)
        assert not np.array_equal(frame.left, as_they_are)
        assert (source.left.topic, source.right.topic) == ("/left/image_rect", "/right/image_rect")
        assert frame.left_info is not None and frame.right_info is not None
        assert frame.left_info.distorted == ""
        assert frame.right_info.baseline_m == pytest.approx(0.1)
        write_bag(source, tmp_path / "rectified")
    with open_stereo(tmp_path / "rectified") as source:
        assert len(source) == 1


def test_a_damaged_calibration_is_unknown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    calibrated(tmp_path / "b", "image_raw", -0.3)
    with BagReader(tmp_path / "b") as reader, BagWriter(tmp_path / "c") as writer:
        for message in reader.messages():
            cut = 60 if message.topic == "/left/camera_info" else None
            writer.write_bytes(message.topic, message.msgtype, message.data[:cut], message.time_ns)
    with open_stereo(tmp_path / "c", rectify_images=False) as source:
        assert source.left_info is None and source.right_info is not None
        source[0].check()
    assert sum("the calibration in /left/camera_info is not used" in text for text in caplog.messages) == 1


def test_rectified_topics_have_the_camera_info_of_the_camera(tmp_path: Path) -> None:
    calibrated(tmp_path / "b", "image_rect_color", -0.3)
    assert len(open_stereo(tmp_path / "b")) == 1


def test_rectifying_takes_the_calibration_of_a_pair(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("cv2")
    calibrated(tmp_path / "alone", "image_raw", -0.3, baseline=0.0)
    with pytest.raises(DatasetError, match=r"no baseline.*calibrate both together"):
        open_stereo(tmp_path / "alone", rectify_images=True)
    calibrated(tmp_path / "good", "image_raw", 0.0)
    with caplog.at_level(logging.WARNING):
        assert len(open_stereo(tmp_path / "good", rectify_images=True)) == 1
    assert "is rectified already" in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"distortion_model": "fov"}, "distortion model 'fov' is none of"),
        ({"distortion_model": "equidistant"}, "D has 5 numbers"),
        ({"d": np.full(5, np.nan)}, "no R and P to rectify with"),
        ({"k": np.full(9, np.inf)}, "no R and P to rectify with"),
        ({"p": np.zeros(12)}, "no R and P to rectify with"),
        ({"r": np.ones(9)}, "no R and P to rectify with"),
    ],
)
def test_hostile_calibrations(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    pytest.importorskip("cv2")
    calibrated(tmp_path / "a", "image_raw", -0.3)
    with BagReader(tmp_path / "a") as reader, BagWriter(tmp_path / "b") as writer:
        for message in reader.messages():
            decoded = reader.decode(message)
            if message.msgtype == CAMERA_INFO:
                for name, value in changes.items():
                    setattr(decoded, name, value)
            writer.write(message.topic, decoded, message.time_ns)
    with pytest.raises(DatasetError, match=words):
        open_stereo(tmp_path / "b", rectify_images=True)


def test_rectifying_without_calibration(tmp_path: Path, write_pairs: Any) -> None:
    write_pairs(tmp_path / "b", [1], [1])
    with pytest.raises(DatasetError, match=r"no calibration of both cameras.*leave --rectify-images out"):
        open_stereo(tmp_path / "b", rectify_images=True)


@pytest.mark.parametrize("rectify", [None, True])
def test_the_bag_is_closed_when_opening_fails(tmp_path: Path, rectify: bool | None) -> None:
    calibrated(tmp_path / "b", "image_raw", -0.3, baseline=0.0)
    with pytest.raises(DatasetError):
        open_stereo(tmp_path / "b", rectify_images=rectify)
    with pytest.raises(DatasetError, match="no images in topic"):
        open_stereo(tmp_path / "b", left_topic="/x", right_topic="/y")
    assert not [link for link in Path("/proc/self/fd").iterdir() if str(tmp_path) in str(link.resolve())]


def test_a_format_that_contradicts_the_picture(
    tmp_path: Path, compressed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with BagWriter(tmp_path / "b") as writer:
        for side in ("left", "right"):
            for index in range(3):
                message = compressed(index, form="rgb8; jpeg compressed rgb8")
                writer.write(f"/{side}/image_raw/compressed", message, index)
    with caplog.at_level(logging.WARNING):
        assert len(open_stereo(tmp_path / "b")) == 3
    assert caplog.text.count("red and blue") == 2  # once a topic
