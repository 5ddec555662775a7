"""Rectifying stereo pairs of known calibration with OpenCV: afterwards the same point lies on the same row of both."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdic_ros.datasets.calibration import CameraInfo, stereo_pair
from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.images import RGB
from mdic_ros.datasets.stereo import Camera, StereoFrame, StereoSource
from mdic_ros.errors import ImageError
from mdic_ros.extras import need

log = logging.getLogger(__name__)

Size = tuple[int, int]  #: height, width

#: Distortion models by the names of ROS, Kalibr and ASL: whether OpenCV's fisheye functions are meant.
_FISHEYE = {
    "plumb_bob": False,
    "rational_polynomial": False,
    "radtan": False,
    "radial-tangential": False,
    "": False,
    "equidistant": True,
    "fisheye": True,
}


def _cv2() -> Any:
    """OpenCV.

    Raises:
        MissingExtraError: it is not installed.
        DatasetError: it is, and does not work.
    """
    need("rectify")
    try:
        import cv2
    except ImportError as error:
        raise DatasetError(
            f"OpenCV cannot be imported ({error}); install opencv-python-headless in its place"
        ) from error
    return cv2


def is_fisheye(model: str) -> bool:
    """Whether a distortion model is the equidistant one.

    Raises:
        DatasetError: neither that nor plumb_bob or rational_polynomial.
    """
    try:
        return _FISHEYE[model]
    except KeyError:
        raise DatasetError(
            f"distortion model '{model}' is none of {', '.join(filter(None, _FISHEYE))}; calibrate the cameras with "
            "one of these, or rectify the images yourself"
        ) from None


def rectifying_pair(
    left: CameraInfo, right: CameraInfo, right_from_left: NDArray[np.float64]
) -> tuple[CameraInfo, CameraInfo]:
    """Completes the calibrations of two cameras with the `R` and `P` that rectify them, of the size of their images.

    Args:
        left, right: K, D and the model; R and P are not looked at.
        right_from_left: 4x4, takes coordinates of the left camera into those of the right one.

    Raises:
        MissingExtraError: no OpenCV.
        DatasetError: an unknown model, two cameras of different sizes or models, or no horizontal pair.
    """
    cv2 = _cv2()
    if (left.height, left.width) != (right.height, right.width):
        raise DatasetError("the two cameras have different resolutions, so they cannot be rectified as a pair")
    fisheye = is_fisheye(left.distortion_model)
    if fisheye != is_fisheye(right.distortion_model):
        raise DatasetError("the two cameras have different distortion models, so they cannot be rectified as a pair")
    size = left.width, left.height
    rotation = np.ascontiguousarray(right_from_left[:3, :3])
    translation = np.ascontiguousarray(right_from_left[:3, 3:])
    d = [np.array(info.d, np.float64) for info in (left, right)]
    cameras = left.k, d[0], right.k, d[1], size, rotation, translation
    try:
        if fisheye:
            found = cv2.fisheye.stereoRectify(*cameras, cv2.CALIB_ZERO_DISPARITY, balance=0.0)
        else:
            found = cv2.stereoRectify(*cameras, flags=cv2.CALIB_ZERO_DISPARITY, alpha=0)
    except cv2.error as error:
        raise DatasetError(f"OpenCV cannot rectify with this calibration ({error}); check it") from error
    rotations, projections = found[0:2], found[2:4]
    if not projections[1][0, 3] < 0:
        raise DatasetError("by its extrinsics the second camera is not right of the first; check the calibration")
    one, two = (
        replace(info, r=np.array(r), p=np.array(p)) for info, r, p in zip((left, right), rotations, projections)
    )
    return one, two


class _Rectifier:
    """Rectifies the images of one camera."""

    def __init__(self, info: CameraInfo, size: Size | None) -> None:
        self._cv2 = _cv2()
        self._size = size
        self._fisheye = is_fisheye(info.distortion_model)
        if not any(info.d):
            info = replace(info, d=(0.0,) * 4)
        if len(info.d) not in ((4,) if self._fisheye else (4, 5, 8, 12, 14)):
            raise DatasetError(f"D has {len(info.d)} numbers, '{info.distortion_model}' has others; calibrate again")
        self._info = info
        self._maps: dict[Size, Any] = {}

    def __call__(self, image: RGB) -> RGB:
        size = image.shape[0], image.shape[1]
        maps = self._maps.get(size)
        if maps is None:
            maps = self._make_maps(size)
            self._maps = {size: maps}
        return np.asarray(self._cv2.remap(image, *maps, self._cv2.INTER_LINEAR), np.uint8)

    def result(self, size: Size) -> CameraInfo:
        """Calibration of the rectified image of one of this size."""
        height, width, p = self._target(size)
        return CameraInfo.rectified(height, width, p)

    def _target(self, size: Size) -> tuple[int, int, NDArray[np.float64]]:
        """Size and P of the rectified image of one of this size."""
        info = self._info
        if self._size is None or info.height < 1:
            return *size, info.scaled(*size).p
        height = round(self._size[0] * size[0] / info.height)
        width = round(self._size[1] * size[1] / info.width)
        return height, width, replace(info, height=self._size[0], width=self._size[1]).scaled(height, width).p

    def _make_maps(self, size: Size) -> Any:
        info = self._info.scaled(*size)
        height, width, p = self._target(size)
        module = self._cv2.fisheye if self._fisheye else self._cv2
        d = np.array(info.d, np.float64)
        return module.initUndistortRectifyMap(
            info.k, d, info.r, np.ascontiguousarray(p[:, :3]), (width, height), self._cv2.CV_32FC1
        )


class RectifiedSource(StereoSource):
    """A recording whose images are rectified when they are loaded; its calibrations are those of the result.

    Args:
        source: not rectified; it is closed with this one.
        left, right: K, D, R and P of its cameras.
        size: (height, width) for which P holds, where that is not the size of the images.

    Raises:
        DatasetError: the calibrations are not those of a pair, or no image can be read.
        MissingExtraError: no OpenCV.
    """

    def __init__(self, source: StereoSource, left: CameraInfo, right: CameraInfo, size: Size | None = None) -> None:
        _check_pair(source, left, right)
        self._source = source
        self._rectifiers = _Rectifier(left, size), _Rectifier(right, size)
        image_size = _image_size(source)
        one, two = (rectifier.result(image_size) for rectifier in self._rectifiers)
        one, two = stereo_pair(one.p, two.p, one.height, one.width)
        super().__init__(
            source.layout, source.path, _renamed(source.left, one), _renamed(source.right, two), source.unpaired
        )

    def __len__(self) -> int:
        return len(self._source)

    def _frame(self, index: int) -> StereoFrame:
        frame = self._source[index]
        return replace(
            frame,
            load_left=_then(frame.load_left, self._rectifiers[0]),
            load_right=_then(frame.load_right, self._rectifiers[1]),
            left_info=self.left_info,
            right_info=self.right_info,
            left_path=None,  # the files are not what the frame shows
            right_path=None,
        )

    def close(self) -> None:
        self._source.close()


def _image_size(source: StereoSource) -> Size:
    """Of the first image that can be read."""
    problem = ""
    for frame in source[:10]:
        try:
            return frame.left.shape[0], frame.left.shape[1]
        except ImageError as error:
            problem = problem or str(error)
    raise DatasetError(f"{source.path}: none of the first images can be read; {problem}")


def _then(load: Callable[[], RGB], rectify: _Rectifier) -> Callable[[], RGB]:
    return lambda: rectify(load())


def _renamed(camera: Camera, info: CameraInfo) -> Camera:
    """The camera under a topic that ROS gives to rectified images: image_raw becomes image_rect."""
    namespace, _, last = camera.topic.rpartition("/")
    last = last.replace("raw", "rect") if "raw" in last else f"{last}_rect"
    return replace(camera, topic=f"{namespace}/{last}", info=info)


def _check_pair(source: StereoSource, left: CameraInfo, right: CameraInfo) -> None:
    for name, info in (("left", left), ("right", right)):
        finite = all(np.isfinite(numbers).all() for numbers in (info.k, info.d, info.r, info.p))
        if not (finite and info.p[0, 0] > 0 and info.p[1, 1] > 0 and abs(np.linalg.det(info.r) - 1) < 1e-3):
            raise DatasetError(
                f"{source.path}: the calibration of the {name} camera has no R and P to rectify with; calibrate both "
                "cameras together, e.g. with camera_calibration"
            )
    if not right.p[0, 3] - left.p[0, 3] < 0:
        raise DatasetError(
            f"{source.path}: P of the right camera has no baseline, so the cameras were calibrated one by one; "
            "calibrate both together, e.g. with camera_calibration"
        )
    if not np.allclose(left.p[1, :3], right.p[1, :3], atol=0.01):
        raise DatasetError(
            f"{source.path}: the second rows of P of the two cameras differ, which those of a pair never do; "
            "calibrate both together, e.g. with camera_calibration"
        )


def refuse_unrectified(path: Path, why: str) -> None:
    """Refuses a recording unless `why` is empty.

    Raises:
        DatasetError: the images are not rectified, for the reason that `why` says.
    """
    if why:
        raise DatasetError(
            f"{path} is not rectified ({why}): add --rectify-images, or --no-rectify-images if it is after all; where "
            "there is no such option, 'mdic bag write --rectify-images' makes a rectified bag first"
        )


def settle(
    source: StereoSource,
    left: CameraInfo | None,
    right: CameraInfo | None,
    why: str,
    rectify: bool | None,
    size: Size | None = None,
) -> StereoSource:
    """The source as it is, or rectified, as the user wants it; an unrectified one is refused without their word.

    Args:
        source: the recording with the images as they are. It is closed on errors.
        left, right: calibrations to rectify with, None if unknown.
        why: what says that the images are not rectified; empty if nothing does.
        rectify: `OpenOptions.rectify_images`.
        size: see `RectifiedSource`.

    Raises:
        DatasetError: not rectified and no word about it, or no calibration to rectify with.
    """
    try:
        if rectify is None:
            refuse_unrectified(source.path, why)
        if not rectify:
            return source
        if left is None or right is None:
            raise DatasetError(
                f"{source.path} cannot be rectified: there is no calibration of both cameras; put it there, or leave "
                "--rectify-images out if the images are rectified"
            )
        if not why:
            log.warning("%s is rectified already, by its calibration; its images are taken as they are", source.path)
            return source
        return RectifiedSource(source, left, right, size)
    except BaseException:
        source.close()
        raise
