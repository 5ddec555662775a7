"""EuRoC, TUM-VI and others in the ASL layout: mav0/cam0 and cam1 with data.csv, images in data/, and sensor.yaml.

M. Burri et al., "The EuRoC micro aerial vehicle datasets", IJRR 2016; D. Schubert et al., "The TUM VI Benchmark for
Evaluating Visual-Inertial Odometry", IROS 2018, whose calibration is in dso/camchain.yaml, the form of Kalibr. The
images of both are as the cameras took them, so they have to be rectified. TUM-VI's are grey PNG files with 16 bits per
pixel, of which the upper 8 are taken.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mdic_ros.datasets.calibration import CameraInfo
from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.files import ImagePair, Unpaired, only, read_text
from mdic_ros.datasets.images import first_readable, grey_bits, read_deep_grey
from mdic_ros.datasets.reader import OpenOptions, Reader
from mdic_ros.datasets.rectify import is_fisheye, rectifying_pair, refuse_unrectified, settle
from mdic_ros.datasets.stereo import Camera, FileStereoSource, StereoFrame, StereoSource
from mdic_ros.datasets.timing import pair_nearest
from mdic_ros.extras import MissingExtraError

log = logging.getLogger(__name__)

T = TypeVar("T")

_CAMERAS = ("cam0", "cam1")
#: Largest rotation between two cameras, in radians, that is still rectified: half a row at a focal length of 500.
_MOST_ROTATION = 1e-3


class _Rig(NamedTuple):
    """Calibration of both cameras, without P, and the 4x4 that takes left coordinates into right ones."""

    left: CameraInfo
    right: CameraInfo
    right_from_left: NDArray[np.float64]


def find(path: Path) -> list[Path]:
    """Folders with cam0 and cam1 (`mav0`) at a path, in it, or one level below."""

    def is_sequence(folder: Path) -> bool:
        return any((folder / camera / "data.csv").is_file() for camera in _CAMERAS)

    for place in (path, path / "mav0"):
        if is_sequence(place):
            return [place]
    return sorted(folder for folder in path.glob("*/mav0") if is_sequence(folder))


def open_sequence(path: Path, options: OpenOptions) -> StereoSource:
    """A sequence, with the real stamps of both cameras; cam0 is the left one.

    Raises:
        DatasetError: no sequence or several, files missing or damaged, or unrectified and nothing said about it.
    """
    example = "a sequence like EuRoC's (mav0/cam0/data.csv, mav0/cam0/data/*.png and mav0/cam1)"
    folder = only(path, find(path), "sequences", example)
    lefts, rights = (_read_index(folder / camera) for camera in _CAMERAS)
    pairs = pair_nearest([left.stamp_ns for left in lefts], [r.stamp_ns for r in rights], round(options.slop_s * 1e9))
    if not pairs:
        raise DatasetError(
            f"{folder}: none of {len(lefts)} images of cam0 has one of {len(rights)} of cam1 within "
            f"{options.slop_s:g} s; --side-slop allows more"
        )
    unpaired = Unpaired(len(lefts) - len(pairs), len(rights) - len(pairs))
    if unpaired.total:
        log.warning("%s: %d images of cam0 and %d of cam1 have no partner and are left out", folder, *unpaired)
    rig = _read_rig(folder)
    why = _unrectified(rig) if rig else "it has no calibration, and images of this layout are as the cameras took them"
    if options.rectify_images is None:
        refuse_unrectified(folder, why)
    left, right = _infos(rig, why, options) if rig else (None, None)
    frames = [
        StereoFrame.of_files(
            ImagePair(lefts[i].file.stem, lefts[i].file, rights[j].file),
            lefts[i].stamp_ns,
            rights[j].stamp_ns,
            left,
            right,
            number=number,
        )
        for number, (i, j) in enumerate(pairs)
    ]
    bits = grey_bits(first_readable((image.file for image in lefts), grey_bits))
    if bits > 8:
        frames = [_of_upper_bits(frame) for frame in frames]
    encoding = "mono8" if bits else "rgb8"
    one, other = (
        Camera(f"/{name}/image_raw", name, info, encoding) for name, info in zip(_CAMERAS, (left, right), strict=True)
    )
    return settle(
        FileStereoSource("euroc", folder, one, other, frames, unpaired), left, right, why, options.rectify_images
    )


def _of_upper_bits(frame: StereoFrame) -> StereoFrame:
    """The frame with the upper 8 of its files' 16 bits. Nobody may copy the files in place of the images."""
    left, right = frame.left_path, frame.right_path
    assert left is not None and right is not None
    return replace(
        frame,
        load_left=lambda: read_deep_grey(left),
        load_right=lambda: read_deep_grey(right),
        left_path=None,
        right_path=None,
    )


class _Image(NamedTuple):
    stamp_ns: int
    file: Path


def _read_index(camera: Path) -> list[_Image]:
    """The images that data.csv lists, by time; those that are not on the disk are left out with a warning."""
    index = camera / "data.csv"
    images = []
    for number, line in enumerate(read_text(index).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        stamp, _, name = (part.strip() for part in line.partition(","))
        if not stamp.isdecimal() or not name or PurePath(name).name != name:
            raise DatasetError(
                f"{index}, line {number}: expected a time in ns and the name of a file, 1403636579763555584,"
                "1403636579763555584.png; correct it, or unpack the file again"
            )
        images.append(_Image(int(stamp), camera / "data" / name))
    there = sorted(image for image in images if image.file.is_file())
    missing = len(images) - len(there)
    if not there:
        raise DatasetError(f"{camera}: none of the {missing} images that data.csv lists is in data/; unpack them there")
    if missing:
        log.warning("%s: %d of %d images that data.csv lists are not there", camera, missing, len(images))
    return there


# --- calibration --------------------------------------------------------------------------------------------


def _read_rig(folder: Path) -> _Rig | None:
    """From sensor.yaml of both cameras, else from Kalibr's camchain.yaml; None if there is neither."""
    sensors = [folder / camera / "sensor.yaml" for camera in _CAMERAS]
    if all(sensor.is_file() for sensor in sensors):
        (left, body_from_left), (right, body_from_right) = (_parse(file, _sensor) for file in sensors)
        return _Rig(left, right, np.linalg.inv(body_from_right) @ body_from_left)
    chains = (root / "dso" / "camchain.yaml" for root in (folder, folder.resolve().parent, folder.parent))
    chain = next((file for file in chains if file.is_file()), None)
    return _parse(chain, _chain) if chain else None


def _parse(file: Path, read: Callable[[Any], T]) -> T:
    import yaml

    text = read_text(file)
    if text.startswith("%YAML:"):  # OpenCV's way to write the first line, which is not YAML's
        text = text.partition("\n")[2]
    try:
        return read(yaml.safe_load(text))
    except DatasetError as error:
        raise DatasetError(f"{file}: {error}") from error
    except (yaml.YAMLError, KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(
            f"{file} is not a calibration of a camera ({type(error).__name__}: {reason}); unpack it again, or take the "
            "one of another sequence of the same rig"
        ) from error


def _sensor(tree: Any) -> tuple[CameraInfo, NDArray[np.float64]]:
    """A sensor.yaml: the camera, and the 4x4 from the camera to the body."""
    if tree["camera_model"] != "pinhole":
        raise DatasetError(f"camera model '{tree['camera_model']}' is not supported, only pinhole; rectify it yourself")
    info = _info(tree["resolution"], tree["intrinsics"], tree["distortion_model"], tree["distortion_coefficients"])
    return info, _transform(tree["T_BS"]["data"])


def _chain(tree: Any) -> _Rig:
    """A camchain.yaml of Kalibr."""
    left, right = (
        _info(cam["resolution"], cam["intrinsics"], cam["distortion_model"], cam["distortion_coeffs"])
        for cam in (tree[name] for name in _CAMERAS)
    )
    second = tree["cam1"]
    if "T_cn_cnm1" in second:
        return _Rig(left, right, _transform(second["T_cn_cnm1"]))
    from_imu = [_transform(tree[name]["T_cam_imu"]) for name in _CAMERAS]
    return _Rig(left, right, from_imu[1] @ np.linalg.inv(from_imu[0]))


def _info(resolution: Any, intrinsics: Any, model: Any, coefficients: Any) -> CameraInfo:
    """R and P are left empty: the cameras of a rig get them together."""
    width, height = (int(value) for value in resolution)
    fu, fv, cu, cv = (float(value) for value in intrinsics)
    d = tuple(float(value) for value in coefficients)
    if not (0 < width < 65536 and 0 < height < 65536 and fu > 0 and fv > 0 and np.isfinite([fu, fv, cu, cv, *d]).all()):
        raise ValueError("a number is out of range")
    k = np.array([[fu, 0, cu], [0, fv, cv], [0, 0, 1]])
    name = "equidistant" if is_fisheye(str(model)) else "plumb_bob"
    return CameraInfo(height, width, k, np.zeros((3, 4)), d, np.zeros((3, 3)), name)


def _transform(values: Any) -> NDArray[np.float64]:
    matrix = np.asarray(values, np.float64).reshape(4, 4)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3]) - 1) > 1e-3:
        raise ValueError("a transformation is not a rotation and a translation")
    return matrix


def _unrectified(rig: _Rig) -> str:
    """Why the images are not rectified; empty if they are."""
    for name, info in zip(_CAMERAS, (rig.left, rig.right), strict=True):
        if info.distorted:
            return f"{info.distorted} in the calibration of {name}"
    turned = rig.right_from_left[:3, :3] - np.eye(3)
    if np.abs(turned).max() > _MOST_ROTATION:
        return "by the calibration cam1 is turned against cam0"
    if not np.allclose(rig.left.k[1], rig.right.k[1]) or np.abs(rig.right_from_left[1:3, 3]).max() > 1e-3:
        return "by the calibration the rows of cam0 and cam1 differ"
    return ""


def _infos(rig: _Rig, why: str, options: OpenOptions) -> tuple[CameraInfo, CameraInfo]:
    """Calibrations of the two cameras; without R and P if there is no OpenCV and images are taken as they are."""
    if why:
        try:
            return rectifying_pair(*rig)
        except MissingExtraError:
            if options.rectify_images:
                raise
            return rig.left, rig.right
    p = np.hstack([rig.left.k, np.zeros((3, 1))])
    q = np.hstack([rig.right.k, np.zeros((3, 1))])
    q[0, 3] = rig.right.k[0, 0] * rig.right_from_left[0, 3]
    height, width = rig.left.height, rig.left.width
    return CameraInfo.rectified(height, width, p), CameraInfo.rectified(height, width, q)


READER = Reader(
    "euroc",
    "mav0/cam0/data.csv, mav0/cam0/data/1403636579763555584.png and mav0/cam1, sensor.yaml in each (EuRoC, TUM-VI)",
    find,
    open_sequence,
)
