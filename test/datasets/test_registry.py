from __future__ import annotations

from pathlib import Path

import pytest

from mdic_ros.datasets import LAYOUTS, DatasetError, detect_layout, open_stereo


def test_unknown_layout_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as error:
        open_stereo(tmp_path)
    for layout in LAYOUTS:
        assert f"  {layout} " in str(error.value)
    with pytest.raises(DatasetError, match="no such"):
        open_stereo(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="unknown layout"):
        open_stereo(tmp_path, "kiti")  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_wrong_layout_is_an_error(tmp_path: Path, layout: str) -> None:
    with pytest.raises(DatasetError, match=str(tmp_path)):
        open_stereo(tmp_path, layout)  # type: ignore[arg-type]


def test_layouts_are_told_apart(
    kitti_raw: Path, kitti_odometry: Path, kitti_2015: Path, kitti_2012: Path, folder: Path
) -> None:
    paths = [kitti_raw, kitti_odometry, kitti_2015, kitti_2012, folder]
    expected = ["kitti_raw", "kitti_odometry", "kitti_stereo", "kitti_stereo", "folder"]
    assert [detect_layout(path) for path in paths] == expected
