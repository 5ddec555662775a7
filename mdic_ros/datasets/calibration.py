"""Camera calibration as `sensor_msgs/CameraInfo` means it, and KITTI's calibration files turned into it.

Conventions: pixel centres lie at integer coordinates, x to the right, y down, z forward (REP 103, optical frames).
`P` of the left camera of a stereo pair has an empty fourth column; that of the right camera has
`P[0, 3] = -fx * baseline` (`sensor_msgs/msg/CameraInfo.msg`, comments on `P`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.files import read_text

Matrix = NDArray[np.float64]


def _matrix(values: ArrayLike, rows: int, cols: int) -> Matrix:
    matrix = np.asarray(values, np.float64).reshape(rows, cols).copy()
    matrix.setflags(write=False)
    return matrix


@dataclass(frozen=True, eq=False)
class CameraInfo:
    """Calibration of one camera at one image size.

    Attributes:
        height, width: image size in pixels for which the numbers hold.
        k: 3x3 intrinsic matrix of the image as it is.
        d: distortion coefficients, `()` or zeros for images that are rectified already.
        r: 3x3 rectifying rotation, identity for images that are rectified already.
        p: 3x4 projection matrix of the rectified image; see the module for its fourth column.
        distortion_model: a name of `sensor_msgs/distortion_models`.
    """

    height: int
    width: int
    k: Matrix
    p: Matrix
    d: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
    r: Matrix = field(default_factory=lambda: _matrix(np.eye(3), 3, 3))
    distortion_model: str = "plumb_bob"

    @classmethod
    def rectified(cls, height: int, width: int, p: ArrayLike) -> CameraInfo:
        """Calibration of an image that is rectified already: `D = 0`, `K = P[:3, :3]`, `R = I`."""
        projection = _matrix(p, 3, 4)
        return cls(height, width, _matrix(projection[:, :3], 3, 3), projection)

    @classmethod
    def from_message(cls, message: Any) -> CameraInfo | None:
        """From a `sensor_msgs/CameraInfo` (of rclpy or rosbags); None when empty (`k[0] == 0`).

        Region of interest and binning are worked in: the result holds for the image as it was delivered.
        """
        if float(message.k[0]) == 0.0:
            return None
        info = cls(
            int(message.height),
            int(message.width),
            _matrix(message.k, 3, 3),
            _matrix(message.p, 3, 4),
            tuple(float(v) for v in message.d),
            _matrix(message.r, 3, 3),
            str(message.distortion_model),
        )
        roi = message.roi
        if roi.width and roi.height:
            shift = np.array([[1, 0, -roi.x_offset], [0, 1, -roi.y_offset], [0, 0, 1]], float)
            info = info._transformed(shift, int(roi.height), int(roi.width))
        bin_y, bin_x = max(int(message.binning_y), 1), max(int(message.binning_x), 1)
        return info.scaled(info.height // bin_y, info.width // bin_x) if bin_y * bin_x > 1 else info

    @property
    def distorted(self) -> str:
        """What says that the image is not rectified: D or R; empty if it is."""
        if any(value != 0 for value in self.d):
            return "D is not 0"
        return "R is not the identity" if self.r.any() and not np.allclose(self.r, np.eye(3), atol=1e-6) else ""

    @property
    def baseline_m(self) -> float:
        """Distance to the left camera of the pair in metres, 0.0 for the left camera itself."""
        return float(-self.p[0, 3] / self.p[0, 0]) if self.p[0, 0] else 0.0

    def scaled(self, height: int, width: int) -> CameraInfo:
        """The same camera after its image has been resized to `height` x `width` pixels.

        A resize maps pixel areas onto pixel areas, so a centre moves as `x' = (x + 0.5) * s - 0.5`.
        """
        if (height, width) == (self.height, self.width):
            return self
        if self.height < 1 or self.width < 1:  # a driver that leaves the size out means that of its image
            return replace(self, height=height, width=width)
        sx, sy = width / self.width, height / self.height
        return self._transformed(np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]]), height, width)

    def _transformed(self, transform: Matrix, height: int, width: int) -> CameraInfo:
        """After the pixel coordinates have been multiplied by a 3x3 matrix."""
        k, p = _matrix(transform @ self.k, 3, 3), _matrix(transform @ self.p, 3, 4)
        return replace(self, height=height, width=width, k=k, p=p)

    def same_as(self, other: CameraInfo | None) -> bool:
        """Whether all numbers are equal."""
        if other is None or self.distortion_model != other.distortion_model:
            return False
        one, two = ((i.height, i.width, *i.d, *i.k.flat, *i.r.flat, *i.p.flat) for i in (self, other))
        return np.array_equal(one, two, equal_nan=True)


@dataclass(frozen=True)
class ViewGuess:
    """Which camera of a horizontal stereo pair a calibration is of.

    Attributes:
        view: the camera; the left one where nothing else is known.
        certain: whether the calibration says so.
        why: in words.
        has_p: whether there is a P to tell it from.
    """

    view: Literal["left", "right"]
    certain: bool
    why: str
    has_p: bool = True


def view_of(message: Any) -> ViewGuess:
    """Which camera of a stereo pair a `sensor_msgs/CameraInfo` (of rclpy or rosbags) is of.

    `P[3]` is -fx times the way from the first camera of the pair to this one: below 0 for the one on the right. 0 is
    what the left one has, and also a right one whose driver leaves the baseline out (RealSense, for one).
    """
    advice = "if it is the right one, set the parameter view"
    focal, shift, vertical = float(message.p[0]), float(message.p[3]), float(message.p[7])
    if not (focal > 0 and math.isfinite(shift)):
        return ViewGuess("left", False, f"there is no camera_info with a P; {advice}", has_p=False)
    if shift < 0:
        return ViewGuess("right", True, "P[3] of camera_info is below 0")
    if shift > 0:
        return ViewGuess("left", False, f"P[3] of camera_info is {shift:g}, but a pair has 0 and less than 0; {advice}")
    if vertical:
        return ViewGuess("left", False, f"by P[7] of camera_info the cameras stand one above the other; {advice}")
    return ViewGuess("left", True, f"P[3] of camera_info is 0; {advice}")


def stereo_pair(p_left: ArrayLike, p_right: ArrayLike, height: int, width: int) -> tuple[CameraInfo, CameraInfo]:
    """Calibrations of a rectified pair from two projection matrices that share some third reference camera.

    KITTI's `P_rect_xx` project from the frame of camera 0 (the left grey one), so even the left colour
    camera has a fourth column. ROS refers a pair to its own left camera; taken over as they are, KITTI's
    numbers give `image_geometry::StereoCameraModel` a baseline of 0.47 m instead of 0.53 m for the colour
    cameras. Only that column changes here: left becomes 0, right becomes right minus left.
    """
    left, right = _matrix(p_left, 3, 4).copy(), _matrix(p_right, 3, 4).copy()
    right[:, 3] -= left[:, 3]
    left[:, 3] = 0.0
    return CameraInfo.rectified(height, width, left), CameraInfo.rectified(height, width, right)


class KittiCalibration:
    """A KITTI calibration file: lines of `name: number number ...`; other lines are left out.

    Raises:
        DatasetError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = (line.partition(":") for line in read_text(path).splitlines())
        self._lines = {key.strip(): value.split() for key, sep, value in lines if sep}

    def __contains__(self, name: str) -> bool:
        return name in self._lines

    def numbers(self, name: str) -> NDArray[np.float64]:
        """The numbers of a line.

        Raises:
            DatasetError: there is no such line, or it has something else than finite numbers.
        """
        if name not in self:
            raise DatasetError(
                f"{self.path} has no line '{name}:' (it has {', '.join(sorted(self._lines)) or 'none'}); "
                "take the calibration file that was published with these images"
            )
        try:
            numbers = np.array([float(v) for v in self._lines[name]])
        except ValueError:
            raise DatasetError(f"{self.path}: line '{name}:' is not a list of numbers; copy the file again") from None
        if not np.isfinite(numbers).all():
            raise DatasetError(f"{self.path}: line '{name}:' has a number that is not finite; copy the file again")
        return numbers

    def matrix(self, name: str, rows: int, cols: int) -> Matrix:
        """A matrix of this shape.

        Raises:
            DatasetError: missing, or another number of values.
        """
        values = self.numbers(name)
        if values.size != rows * cols:
            raise DatasetError(
                f"{self.path}: line '{name}:' has {values.size} numbers, a {rows}x{cols} matrix has {rows * cols}; "
                "take the calibration file that was published with these images"
            )
        return _matrix(values, rows, cols)

    def projection(self, name: str) -> Matrix:
        """A 3x4 projection matrix.

        Raises:
            DatasetError: missing, or not twelve numbers, or without a focal length.
        """
        matrix = self.matrix(name, 3, 4)
        if not (matrix[0, 0] > 0 and matrix[1, 1] > 0):
            raise DatasetError(f"{self.path}: line '{name}:' is not a projection matrix (no focal length)")
        return matrix

    def size(self, name: str) -> tuple[int, int]:
        """(height, width) from a KITTI `S_...` line, which says width first."""
        values = self.numbers(name)
        if values.size != 2 or not ((values >= 1) & (values <= 65535)).all():
            raise DatasetError(f"{self.path}: line '{name}:' is not an image size")
        return int(values[1]), int(values[0])


def read_ros_yaml(path: Path) -> CameraInfo:
    """A calibration in the YAML form of ROS's camera_calibration (`camera_info_manager`).

    Raises:
        DatasetError: unreadable, or a field is missing or of the wrong size.
    """
    import yaml

    try:
        tree = yaml.safe_load(read_text(path))
        return CameraInfo(
            int(tree["image_height"]),
            int(tree["image_width"]),
            _matrix(tree["camera_matrix"]["data"], 3, 3),
            _matrix(tree["projection_matrix"]["data"], 3, 4),
            tuple(float(v) for v in tree["distortion_coefficients"]["data"]),
            _matrix(tree["rectification_matrix"]["data"], 3, 3),
            str(tree.get("distortion_model", "plumb_bob")),
        )
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(
            f"{path} is not a ROS camera calibration ({type(error).__name__}: {reason}); expected the file "
            "that camera_calibration writes, with image_width, camera_matrix, projection_matrix ..."
        ) from error
