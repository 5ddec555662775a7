from __future__ import annotations

from pathlib import Path

import pytest

from mdic_ros.datasets import DatasetError, open_stereo
from mdic_ros.datasets.stereo import SYNTHETIC_START_NS


@pytest.mark.parametrize("below", ["", "sequences", "sequences/07"])
def test_found_from_above(kitti_odometry: Path, below: str) -> None:
    source = open_stereo(kitti_odometry / below)
    assert (source.layout, len(source)) == ("kitti_odometry", 3)
    assert source.left.topic == "/kitti/camera_color_left/image_rect"


def test_times_count_from_the_synthetic_start(kitti_odometry: Path) -> None:
    frames = list(open_stereo(kitti_odometry))
    assert [f.stamp_ns - SYNTHETIC_START_NS for f in frames] == [0, 103_735_900, 207_473_000]
    assert all(f.stamp_ns == f.right_stamp_ns for f in frames)


def test_calibration(kitti_odometry: Path) -> None:
    source = open_stereo(kitti_odometry)
    assert source.right_info is not None
    assert (source.right_info.height, source.right_info.width) == (75, 248)
    assert source.right_info.baseline_m == pytest.approx(0.5327, abs=1e-3)


@pytest.mark.parametrize("times", ["0.0\nx\n0.2\n", "0.0\nnan\n0.2\n", "0.0\n-1\n0.2\n", "0.0\n1e300\n0.2\n"])
def test_broken_times(kitti_odometry: Path, times: str) -> None:
    next(kitti_odometry.rglob("times.txt")).write_text(times)
    with pytest.raises(DatasetError, match=r"times\.txt, line 2"):
        open_stereo(kitti_odometry)


def test_missing_calibration_line(kitti_odometry: Path) -> None:
    next(kitti_odometry.rglob("calib.txt")).write_text("P0: 1\n")
    with pytest.raises(DatasetError, match=r"calib\.txt has no line 'P2:'"):
        open_stereo(kitti_odometry)


def test_grey_cameras_only(kitti_odometry: Path) -> None:
    """The archive of grey images is a quarter of the size."""
    sequence = next(kitti_odometry.rglob("07"))
    (sequence / "image_2").rename(sequence / "image_0")
    (sequence / "image_3").rename(sequence / "image_1")
    source = open_stereo(kitti_odometry)
    assert (source.left.topic, source.left.encoding) == ("/kitti/camera_gray_left/image_rect", "mono8")
    assert source.right_info is not None
    assert source.right_info.baseline_m == pytest.approx(0.5372, abs=1e-3)


def test_frame_numbers_without_leading_zeros(kitti_odometry: Path) -> None:
    times = "\n".join(f"{index / 10}" for index in range(12))
    next(kitti_odometry.rglob("times.txt")).write_text(times)
    for folder in kitti_odometry.rglob("image_?"):
        file = folder / "000000.png"
        for index in range(12):
            (folder / f"{index}.png").write_bytes(file.read_bytes())
        for index in range(3):
            (folder / f"{index:06}.png").unlink()
    source = open_stereo(kitti_odometry)
    assert [frame.name for frame in source] == [str(index) for index in range(12)]
    stamps = [frame.stamp_ns for frame in source]
    assert stamps == sorted(stamps)
