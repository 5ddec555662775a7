from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mdic_ros.datasets import CameraInfo, DatasetError
from mdic_ros.datasets.rectify import is_fisheye, rectifying_pair


def test_models_by_the_names_of_ros_kalibr_and_asl() -> None:
    assert is_fisheye("equidistant")
    assert not is_fisheye("radial-tangential")
    assert not is_fisheye("plumb_bob")
    with pytest.raises(DatasetError, match="'fov' is none of plumb_bob"):
        is_fisheye("fov")


def test_without_opencv_the_extra_is_named() -> None:
    code = """
import sys
import numpy as np
sys.modules["cv2"] = None  # as if it were not installed
from mdic_ros.datasets import CameraInfo
from mdic_ros.datasets.rectify import rectifying_pair
from mdic_ros.errors import MdicError
info = CameraInfo.rectified(48, 64, [[50, 0, 32, 0], [0, 50, 24, 0], [0, 0, 1, 0]])
try:
    rectifying_pair(info, info, np.eye(4))
except MdicError as error:
    sys.exit(str(error))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install '.[rectify]' in the checkout" in done.stderr


def moved(x: float, y: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, 0
    return matrix


class TestPairs:
    """Which two cameras can be rectified together."""

    left = CameraInfo.rectified(48, 64, [[50, 0, 32, 0], [0, 50, 24, 0], [0, 0, 1, 0]])

    @pytest.fixture(autouse=True)
    def _opencv(self) -> None:
        pytest.importorskip("cv2")

    def test_one_beside_the_other(self) -> None:
        one, other = rectifying_pair(self.left, self.left, moved(-0.1))
        assert (one.baseline_m, other.baseline_m) == (0, pytest.approx(0.1))
        np.testing.assert_allclose(one.p[1], other.p[1])

    @pytest.mark.parametrize("place", [moved(0.1), moved(0, 0.1)])
    def test_not_a_left_and_a_right_one(self, place: np.ndarray) -> None:
        with pytest.raises(DatasetError, match="not right of the first"):
            rectifying_pair(self.left, self.left, place)

    def test_of_different_kinds(self) -> None:
        with pytest.raises(DatasetError, match="different resolutions"):
            rectifying_pair(self.left, self.left.scaled(24, 32), moved(-0.1))
        fisheye = CameraInfo(48, 64, self.left.k, self.left.p, (0.1, 0, 0, 0), distortion_model="equidistant")
        with pytest.raises(DatasetError, match="different distortion models"):
            rectifying_pair(self.left, fisheye, moved(-0.1))

    def test_numbers_that_mean_nothing(self) -> None:
        with pytest.raises(DatasetError):
            rectifying_pair(self.left, self.left, np.full((4, 4), np.nan))
