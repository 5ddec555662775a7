from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdic_ros.datasets import DatasetError, detect_layout, open_stereo, write_bag
from mdic_ros.datasets.readers import cityscapes as reader


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    """Two cities of the test split with two frames each, at a sixteenth of the size."""
    root = tmp_path / "cityscapes"
    calibration = {
        "extrinsic": {"baseline": 0.209313, "pitch": 0.038, "roll": 0.0, "x": 1.7, "y": 0.1, "yaw": 0.0, "z": 1.22},
        "intrinsic": {"fx": 2262.52, "fy": 2265.3, "u0": 1096.98, "v0": 513.137},
    }
    for city in ("berlin", "munich"):
        for number in (18, 19):
            name = f"{city}_000000_{number:06}"
            for side, shade in (("left", number), ("right", number + 100)):
                path = root / f"{side}Img8bit" / "test" / city / f"{name}_{side}Img8bit.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((64, 128, 3), shade, np.uint8)).save(path)
            camera = root / "camera" / "test" / city / f"{name}_camera.json"
            camera.parent.mkdir(parents=True, exist_ok=True)
            camera.write_text(json.dumps(calibration))
    return root


@pytest.mark.parametrize("below", ["", "leftImg8bit", "leftImg8bit/test"])
def test_found_from_above(cityscapes: Path, below: str) -> None:
    assert detect_layout(cityscapes / below) == "cityscapes"
    source = open_stereo(cityscapes / below)
    assert [f.name for f in source] == [f"{c}_000000_{n:06}" for c in ("berlin", "munich") for n in (18, 19)]
    assert (source[3].left == 19).all() and (source[3].right == 119).all()
    assert source[1].stamp_ns - source[0].stamp_ns == 100_000_000


def test_calibration_is_scaled_to_the_images(cityscapes: Path) -> None:
    source = open_stereo(cityscapes)
    assert source.left_info is not None and source.right_info is not None
    assert (source.left_info.height, source.left_info.width) == (64, 128)
    assert source.left_info.k[0, 0] == pytest.approx(2262.52 / 16)
    assert source.right_info.baseline_m == pytest.approx(0.209313)
    assert source.left.topic == "/cityscapes/camera_left/image_rect"


def test_without_calibration_it_warns(cityscapes: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(cityscapes / "camera")
    with caplog.at_level(logging.WARNING):
        assert open_stereo(cityscapes).left_info is None
    assert "4 of 4 frames have no calibration" in caplog.text


def test_broken_calibration_is_named(cityscapes: Path) -> None:
    next(cityscapes.rglob("munich_000000_000018_camera.json")).write_text('{"intrinsic": {}}')
    with pytest.raises(DatasetError, match=r"munich_000000_000018_camera\.json is no calibration"):
        open_stereo(cityscapes)


def test_several_splits_ask_for_one(cityscapes: Path) -> None:
    for side in ("leftImg8bit", "rightImg8bit"):
        shutil.copytree(cityscapes / side / "test", cityscapes / side / "val")
    assert [split.name for split in reader.find(cityscapes)] == ["test", "val"]
    with pytest.raises(DatasetError, match=r"2 splits.*leftImg8bit/test, leftImg8bit/val"):
        open_stereo(cityscapes)
    assert len(open_stereo(cityscapes / "leftImg8bit" / "val")) == 4


def test_missing_right_images(cityscapes: Path, caplog: pytest.LogCaptureFixture) -> None:
    next(cityscapes.rglob("berlin_000000_000019_rightImg8bit.png")).unlink()
    with caplog.at_level(logging.WARNING):
        source = open_stereo(cityscapes)
    assert (len(source), source.unpaired) == (3, (1, 0))
    assert "berlin_000000_000019_leftImg8bit.png" in caplog.text
    shutil.rmtree(cityscapes / "rightImg8bit")
    with pytest.raises(DatasetError, match="rightImg8bit_trainvaltest"):
        open_stereo(cityscapes)


@pytest.mark.parametrize(("inside", "path"), [("leftImg8bit", "."), ("leftImg8bit/test", "."), ("rightImg8bit", "..")])
def test_relative_paths(cityscapes: Path, monkeypatch: pytest.MonkeyPatch, inside: str, path: str) -> None:
    monkeypatch.chdir(cityscapes / inside)
    assert detect_layout(Path(path)) == "cityscapes"
    assert len(open_stereo(path)) == 4


def test_what_macos_leaves_behind_is_no_image(cityscapes: Path) -> None:
    for file in list(cityscapes.rglob("*_*Img8bit.png")):
        file.with_name(f"._{file.name}").write_bytes(b"Mac OS X")
    assert len(open_stereo(cityscapes)) == 4
    for file in (cityscapes / "leftImg8bit").rglob("[!.]*.png"):
        file.unlink()
    with pytest.raises(DatasetError, match="found none"):
        open_stereo(cityscapes, "cityscapes")


def test_goes_into_a_bag(cityscapes: Path, tmp_path: Path) -> None:
    with open_stereo(cityscapes) as source:
        assert write_bag(source, tmp_path / "bag").frames == 4
    with open_stereo(tmp_path / "bag") as bag:
        assert len(bag) == 4 and (bag[0].right == 118).all()


def test_packages_that_are_linked_from_elsewhere(cityscapes: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("leftImg8bit", "rightImg8bit", "camera"):
        (cityscapes / name).rename(tmp_path / f"store_{name}")
        (mine / name).symlink_to(tmp_path / f"store_{name}")
    for path in (mine, mine / "leftImg8bit", mine / "leftImg8bit" / "test"):
        source = open_stereo(path)
        assert len(source) == 4
        assert source.left_info is not None
