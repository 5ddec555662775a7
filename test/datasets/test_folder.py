from __future__ import annotations

from pathlib import Path

import pytest

from mdic_ros.datasets import LAYOUTS, DatasetError, detect_layout, open_stereo


def test_pairs_by_name_whatever_the_format(folder: Path) -> None:
    source = open_stereo(folder, rate_hz=20)
    assert (source.layout, [f.name for f in source]) == ("folder", ["000", "001", "002"])
    assert source[1].stamp_ns - source[0].stamp_ns == 50_000_000
    assert source[2].left.shape == (75, 248, 3)
    assert source.left.topic == "/stereo/left/image_raw"
    assert source.left_info is None


def test_calibration_is_scaled_to_the_images(folder: Path) -> None:
    from textwrap import dedent

    text = dedent("""\
        image_width: 496
        image_height: 150
        camera_matrix: {data: [500, 0, 320, 0, 500, 240, 0, 0, 1]}
        distortion_coefficients: {data: [0, 0, 0, 0, 0]}
        rectification_matrix: {data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
        projection_matrix: {data: [500, 0, 320, 0, 0, 500, 240, 0, 0, 0, 1, 0]}
    """)
    (folder / "left.yaml").write_text(text)
    source = open_stereo(folder)
    assert source.left_info is not None
    assert (source.left_info.width, source.left_info.k[0, 0]) == (248, 250)
    assert source.right_info is None


def test_wrong_counts(folder: Path) -> None:
    (folder / "right" / "001.jpg").unlink()
    with pytest.raises(DatasetError, match=r"left/001\.jpg"):
        open_stereo(folder)


def test_same_name_twice(folder: Path) -> None:
    (folder / "left" / "001.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"both 001\.jpg and 001\.png"):
        open_stereo(folder)


def test_one_side_only(folder: Path) -> None:
    (folder / "right").rename(folder / "rihgt")
    with pytest.raises(DatasetError, match="right is not there"):
        open_stereo(folder)


def test_empty_folder(folder: Path) -> None:
    for path in (folder / "left").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="left has no images"):
        open_stereo(folder)


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


def test_slices_and_bounds(folder: Path) -> None:
    source = open_stereo(folder)
    assert [f.name for f in source[1:]] == ["001", "002"]
    with pytest.raises(IndexError):
        source[3]
