from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mdic_ros.datasets import DatasetError, open_stereo
from mdic_ros.datasets.stereo import SYNTHETIC_START_NS


def test_2015(kitti_2015: Path) -> None:
    source = open_stereo(kitti_2015)
    assert (source.layout, len(source)) == ("kitti_stereo", 4)
    assert [f.name for f in source] == ["000000_10", "000000_11", "000001_10", "000001_11"]
    assert [f.stamp_ns - SYNTHETIC_START_NS for f in source] == [i * 100_000_000 for i in range(4)]


def test_2015_calibration_and_size_belong_to_the_scene(kitti_2015: Path) -> None:
    first, *_, last = open_stereo(kitti_2015)
    assert first.left_info is not None
    assert last.left_info is not None
    assert (first.left_info.width, last.left_info.width) == (248, 244)
    assert last.left_info.k[0, 0] < first.left_info.k[0, 0] * 0.99


def test_2012(kitti_2012: Path) -> None:
    source = open_stereo(kitti_2012 / "training")
    assert source.left.frame_id == "camera_color_left"
    assert len(source) == 2
    assert source.right_info is not None
    assert source.right_info.baseline_m == pytest.approx(0.5327, abs=1e-3)
    grey = open_stereo(kitti_2012, cameras="gray")
    assert grey.left.encoding == "mono8"
    assert grey[0].left_path is not None
    assert grey[0].left_path.parent.name == "image_0"


def test_both_splits(kitti_2015: Path) -> None:
    shutil.copytree(kitti_2015 / "training", kitti_2015 / "testing")
    with pytest.raises(DatasetError, match="2 splits, name one of them: training, testing"):
        open_stereo(kitti_2015)
    assert len(open_stereo(kitti_2015 / "testing")) == 4
