from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mdic_ros.datasets.calibration import CameraInfo, KittiCalibration, read_ros_yaml, stereo_pair
from mdic_ros.datasets.errors import DatasetError

P = [[700.0, 0, 600, 0], [0, 710, 180, 0], [0, 0, 1, 0]]
P_RIGHT = [[700.0, 0, 600, -350], [0, 710, 180, 0], [0, 0, 1, 0]]


def project(info: CameraInfo, point: tuple[float, float, float]) -> np.ndarray:
    x, y, w = info.p @ np.array([*point, 1.0])
    return np.array([x / w, y / w])


def test_rectified_images_have_no_distortion() -> None:
    info = CameraInfo.rectified(375, 1242, P)
    assert info.d == (0.0,) * 5
    assert info.distortion_model == "plumb_bob"
    np.testing.assert_array_equal(info.k, np.array(P)[:, :3])
    np.testing.assert_array_equal(info.r, np.eye(3))


def test_pair_is_referred_to_its_left_camera() -> None:
    # KITTI gives both relative to camera 0, a third one
    left, right = np.array(P), np.array(P)
    left[:, 3], right[:, 3] = (44.857, 0.216, 0.0027), (-339.524, 2.2, 0.0027)
    one, other = stereo_pair(left, right, 375, 1242)
    np.testing.assert_array_equal(one.p[:, 3], 0)
    assert one.baseline_m == 0
    assert other.baseline_m == pytest.approx((339.524 + 44.857) / 700)
    assert left[0, 3] == 44.857  # the arguments are left alone


def test_scaling_moves_pixels_as_resizing_does() -> None:
    """A corner of the image stays a corner: with centres at integers, that is x = -0.5."""
    info = CameraInfo.rectified(375, 1242, P_RIGHT)
    half = info.scaled(100, 621)
    assert (half.height, half.width) == (100, 621)
    for point in ((0.3, -0.2, 5.0), (-2.0, 1.0, 9.0)):
        x, y = project(info, point)
        np.testing.assert_allclose(project(half, point), ((x + 0.5) / 2 - 0.5, (y + 0.5) * 100 / 375 - 0.5))
    assert half.baseline_m == pytest.approx(0.5)
    back = half.scaled(375, 1242)
    np.testing.assert_allclose(back.k, info.k)
    assert info.scaled(375, 1242) is info


def message(**changes: object) -> SimpleNamespace:
    roi = SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    fields = {
        "height": 480, "width": 640, "distortion_model": "plumb_bob", "d": [0.1, 0, 0, 0, 0],
        "k": [500, 0, 320, 0, 500, 240, 0, 0, 1], "r": np.eye(3).ravel(),
        "p": [500, 0, 320, 0, 0, 500, 240, 0, 0, 0, 1, 0], "binning_x": 0, "binning_y": 0, "roi": roi,
    }  # fmt: skip
    return SimpleNamespace(**{**fields, **changes})


def test_message_without_calibration_is_none() -> None:
    assert CameraInfo.from_message(message(k=[0.0] * 9)) is None


def test_region_of_interest_and_binning_are_worked_in() -> None:
    roi = SimpleNamespace(x_offset=100, y_offset=40, height=400, width=500, do_rectify=False)
    info = CameraInfo.from_message(message(roi=roi, binning_x=2, binning_y=2))
    assert info is not None
    assert (info.height, info.width) == (200, 250)
    # sensor column 320 is column 220 of the region; columns 220, 221 are bin 110, their centre is its
    assert info.k[0, 2] == pytest.approx(110 - 0.25)
    assert info.k[0, 0] == pytest.approx(250)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("P_rect_03: 1 2 3\n", ["P_rect_02", "no line"]),
        ("P_rect_02: 1 2 3\n", ["P_rect_02", "3 numbers"]),
        ("P_rect_02: " + "x " * 12, ["P_rect_02", "not a list of numbers"]),
        ("P_rect_02: " + "nan " * 12, ["P_rect_02", "not finite"]),
        ("P_rect_02: " + "0 " * 12, ["P_rect_02", "focal length"]),
        ("\0\xff garbage", ["P_rect_02", "it has none"]),
    ],
)
def test_broken_calibration_names_file_and_line(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "calib_cam_to_cam.txt"
    path.write_text(text, "latin1")
    with pytest.raises(DatasetError) as error:
        KittiCalibration(path).projection("P_rect_02")
    for word in [str(path), *words]:
        assert word in str(error.value)


def test_image_size_has_width_first(tmp_path: Path) -> None:
    path = tmp_path / "calib.txt"
    path.write_text("S_rect_02: 1.242000e+03 3.750000e+02\nS_rect_03: 0 3\n")
    assert KittiCalibration(path).size("S_rect_02") == (375, 1242)
    with pytest.raises(DatasetError, match="S_rect_03"):
        KittiCalibration(path).size("S_rect_03")


YAML = """\
image_width: 640
image_height: 480
camera_name: left
camera_matrix: {rows: 3, cols: 3, data: [500, 0, 320, 0, 500, 240, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [500, 0, 320, -60, 0, 500, 240, 0, 0, 0, 1, 0]}
"""


def test_ros_yaml(tmp_path: Path) -> None:
    path = tmp_path / "right.yaml"
    path.write_text(YAML)
    info = read_ros_yaml(path)
    assert (info.height, info.width, info.d[0]) == (480, 640, 0.1)
    assert info.baseline_m == pytest.approx(0.12)


@pytest.mark.parametrize("text", ["[", "3", "image_width: 3", YAML.replace("0, 0, 1]}", "0]}")])
def test_broken_ros_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "left.yaml"
    path.write_text(text)
    with pytest.raises(DatasetError, match=r"left\.yaml"):
        read_ros_yaml(path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "calib.txt"
    with path.open("wb") as file:
        file.truncate(1 << 32)  # sparse
    with pytest.raises(DatasetError, match="64 MB"):
        KittiCalibration(path)


@pytest.mark.parametrize("read", [KittiCalibration, read_ros_yaml])
def test_pointers_of_git_lfs_are_recognised(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "calib.txt"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(DatasetError, match="git lfs pull"):
        read(path)


def test_what_says_that_an_image_is_not_rectified() -> None:
    info = CameraInfo.rectified(375, 1242, P)
    assert info.distorted == ""
    assert replace(info, d=(0.1, 0.0, 0.0, 0.0, 0.0)).distorted == "D is not 0"
    turned = np.array([[0.9999, 0.0141, 0], [-0.0141, 0.9999, 0], [0, 0, 1]])
    assert replace(info, r=turned).distorted == "R is not the identity"
    assert replace(info, r=np.zeros((3, 3)), d=()).distorted == ""  # a driver that leaves R out


def test_same_numbers_are_the_same_calibration() -> None:
    info = CameraInfo.rectified(375, 1242, P)
    assert info.same_as(CameraInfo.rectified(375, 1242, P))
    assert not info.same_as(None)
    assert not info.same_as(replace(info, d=()))
    assert not info.same_as(info.scaled(100, 200))
    strange = replace(info, d=(float("nan"),))
    assert strange.same_as(replace(info, d=(float("nan"),)))
