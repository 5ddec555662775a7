from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mdic_ros.datasets import DatasetError, open_stereo


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


def test_images_without_partner_are_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "right" / "001.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        source = open_stereo(folder)
    assert ([frame.name for frame in source], source.unpaired) == (["000", "002"], (1, 0))
    assert "left/001.jpg" in caplog.text
    (folder / "left" / "002.webp").rename(folder / "left" / "003.webp")
    (folder / "left" / "000.png").unlink()
    with pytest.raises(DatasetError, match=r"no two have the same name: 001\.jpg and 000\.png.*Rename them"):
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
