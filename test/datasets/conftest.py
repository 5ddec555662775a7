"""Small recordings in the layouts in which they are published, made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mdic_ros.datasets.bag_writer import BagWriter
from mdic_ros.datasets.images import encode_image
from mdic_ros.datasets.messages import make_compressed_image, make_header, make_image

# Lines of a calibration file of KITTI raw (2011_09_26) for 1242x375 images.
P_RECT = {
    0: "7.215377e+02 0 6.095593e+02 0 0 7.215377e+02 1.728540e+02 0 0 0 1 0",
    1: "7.215377e+02 0 6.095593e+02 -3.875744e+02 0 7.215377e+02 1.728540e+02 0 0 0 1 0",
    2: "7.215377e+02 0 6.095593e+02 44.85728 0 7.215377e+02 172.854 0.2163791 0 0 1 2.745884e-03",
    3: "7.215377e+02 0 6.095593e+02 -3.395242e+02 0 7.215377e+02 1.728540e+02 2.199936e+00 0 0 1 2.729905e-03",
}


def picture(seed: int, height: int = 75, width: int = 248) -> np.ndarray:
    """A smooth random picture, H x W x 3 uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 12, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def raw_calibration() -> str:
    text = "calib_time: 09-Jan-2012 13:57:47\ncorner_dist: 9.950000e-02\n"
    for number, values in P_RECT.items():
        text += f"K_{number:02}: 9.8e+02 0 6.9e+02 0 9.8e+02 2.3e+02 0 0 1\n"
        text += f"D_{number:02}: -3.7e-01 2.0e-01 2.2e-03 1.4e-03 -7.2e-02\n"
        text += f"S_rect_{number:02}: 1.242000e+03 3.750000e+02\nP_rect_{number:02}: {values}\n"
    return text


@pytest.fixture
def kitti_raw(tmp_path: Path) -> Path:
    """A day's folder with one drive of four frames at a fifth of KITTI's size, all four cameras."""
    day = tmp_path / "2011_09_26"
    drive = day / "2011_09_26_drive_0005_sync"
    for number in range(4):
        for index in range(4):
            image = picture(10 * number + index)
            save(
                drive / f"image_{number:02}" / "data" / f"{index:010}.png",
                image[..., 0] if number < 2 else image,
            )
        early = 485_120 if number == 3 else 0  # the right colour camera is stamped half a millisecond earlier
        lines = [f"2011-09-26 13:04:{32 + i // 10}.{345_808_896 + i * 100_000_000 - early:09}" for i in range(4)]
        (drive / f"image_{number:02}" / "timestamps.txt").write_text("\n".join(lines) + "\n\n")
    (day / "calib_cam_to_cam.txt").write_text(raw_calibration())
    return day


@pytest.fixture
def kitti_odometry(tmp_path: Path) -> Path:
    """A dataset folder with one sequence of three frames."""
    sequence = tmp_path / "dataset" / "sequences" / "07"
    for number in (2, 3):
        for index in range(3):
            save(sequence / f"image_{number}" / f"{index:06}.png", picture(10 * number + index))
    (sequence / "times.txt").write_text("0.000000e+00\n1.037359e-01\n2.074730e-01\n")
    (sequence / "calib.txt").write_text("".join(f"P{n}: {v}\n" for n, v in P_RECT.items()) + "Tr: 1 2 3\n")
    return tmp_path / "dataset"


@pytest.fixture
def kitti_2015(tmp_path: Path) -> Path:
    """Two scenes with frames 10 and 11; the scenes differ in size and calibration."""
    root = tmp_path / "data_scene_flow"
    for number in (2, 3):
        for scene, width in ((0, 248), (1, 244)):
            for frame in (10, 11):
                save(
                    root / "training" / f"image_{number}" / f"{scene:06}_{frame}.png",
                    picture(100 * number + scene, 75, width),
                )
    calib = root / "training" / "calib_cam_to_cam"
    calib.mkdir()
    (calib / "000000.txt").write_text(raw_calibration())
    (calib / "000001.txt").write_text(raw_calibration().replace("7.215377e+02", "7.070912e+02"))
    return root


@pytest.fixture
def kitti_2012(tmp_path: Path) -> Path:
    """One scene, colour and grey, frames 10 and 11."""
    root = tmp_path / "data_stereo_flow"
    for side in (0, 1):
        for frame in (10, 11):
            image = picture(side)
            save(root / "training" / f"colored_{side}" / f"000000_{frame}.png", image)
            save(root / "training" / f"image_{side}" / f"000000_{frame}.png", image[..., 0])
    (root / "training" / "calib").mkdir()
    (root / "training" / "calib" / "000000.txt").write_text("".join(f"P{n}: {v}\n" for n, v in P_RECT.items()))
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """left and right with three images each, in three file formats."""
    root = tmp_path / "street"
    for side in ("left", "right"):
        for index, suffix in enumerate((".png", ".jpg", ".webp")):
            save(root / side / f"{index:03}{suffix}", picture(index))
    return root


@pytest.fixture(name="picture", scope="session")
def _picture() -> Callable[..., np.ndarray]:
    return picture


@pytest.fixture(name="save", scope="session")
def _save() -> Callable[[Path, np.ndarray], None]:
    return save


#: What the images of `write_pairs` show.
PICTURE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


@pytest.fixture(scope="session")
def compressed() -> Callable[..., Any]:
    """`compressed(stamp, data)`: a CompressedImage, of `PICTURE` as PNG unless there is data."""

    def make(stamp: int, data: bytes | None = None, form: str = "png") -> Any:
        return make_compressed_image(make_header(stamp, "c"), form, data or encode_image(PICTURE, "png"))

    return make


@pytest.fixture(scope="session")
def write_pairs() -> Callable[..., None]:
    """`write_pairs(path, stamps, right_stamps)`: a bag of two cameras, recorded at `times`, else at the stamps."""

    def write(
        path: Path,
        stamps: Sequence[int],
        right_stamps: Sequence[int],
        times: Sequence[int] | None = None,
        right_times: Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        with BagWriter(path, **options) as writer:
            for side, of, at in (("left", stamps, times), ("right", right_stamps, right_times or times)):
                for index, (stamp, time) in enumerate(zip(of, at or of, strict=True)):
                    image = PICTURE if at is None else np.full((4, 6, 3), index, np.uint8)
                    writer.write(f"/stereo/{side}/image_raw", make_image(make_header(stamp, side), image), time)

    return write
