"""What the readers of KITTI share.

References: A. Geiger et al., "Vision meets Robotics: The KITTI Dataset", IJRR 2013, and the readme files of the raw
development kit and of the benchmarks (https://www.cvlibs.net/datasets/kitti/).

All images but those of `_extract` drives are rectified. Their camera_info has `D = 0`, `K = P[:3, :3]` and `R = I`: the
raw camera's `K_xx` and `D_xx` of calib_cam_to_cam.txt do not belong to these pictures, and a node that rectifies with
them would do so twice. For the fourth column of `P` see `calibration.stereo_pair`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mdic_ros.datasets.calibration import CameraInfo
from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.files import ImagePair
from mdic_ros.datasets.images import first_readable, image_size
from mdic_ros.datasets.reader import Cameras
from mdic_ros.datasets.stereo import Camera, StereoFrame

log = logging.getLogger(__name__)


class Rig(NamedTuple):
    """A stereo pair of the car by KITTI's camera numbers."""

    kind: str
    left: int
    right: int
    encoding: str


COLOR = Rig("color", 2, 3, "bgr8")
GRAY = Rig("gray", 0, 1, "mono8")


def choose_rig(folder: Path, cameras: Cameras, name: Callable[[Rig, int], str]) -> tuple[Rig, Path, Path]:
    """The pair of image folders to take below `folder`: colour before grey, and a whole pair before half of one.

    Raises:
        DatasetError: no whole pair.
    """
    wanted = {"auto": (COLOR, GRAY), "color": (COLOR,), "gray": (GRAY,)}[cameras]
    half = ""
    for rig in wanted:
        left, right = folder / name(rig, rig.left), folder / name(rig, rig.right)
        if left.is_dir() and right.is_dir():
            if half:
                log.warning("%s, so the %s cameras are taken", half, rig.kind)
            return rig, left, right
        if left.is_dir() or right.is_dir():
            here, gone = (left, right) if left.is_dir() else (right, left)
            half = half or f"{here} has no partner {gone.name} beside it"
    if half:
        raise DatasetError(f"{half}; a stereo pair needs both folders, unpack the other one there, too")
    looked = " or ".join(f"{name(rig, rig.left)} + {name(rig, rig.right)}" for rig in wanted)
    raise DatasetError(f"{folder}: looked for {looked}, found none of them; unpack the images of both cameras there")


def make_cameras(rig: Rig, topic: str, frames: list[StereoFrame]) -> tuple[Camera, Camera]:
    """The two cameras under the names that users of kitti2bag know."""
    names = f"camera_{rig.kind}_left", f"camera_{rig.kind}_right"
    infos = frames[0].left_info, frames[0].right_info
    left, right = (
        Camera(f"/kitti/{name}/{topic}", name, info, rig.encoding) for name, info in zip(names, infos, strict=True)
    )
    return left, right


def stamps_needed(pairs: list[ImagePair]) -> int:
    """How many stamps a file must have for these images, which are numbered from 0 by its lines.

    So a drive of which frames were removed keeps its times.

    Raises:
        DatasetError: an image has no number for a name.
    """
    for pair in pairs:
        if not pair.name.isdecimal():
            raise DatasetError(f"{pair.left}: KITTI names its images by number; rename it, or take --layout folder")
    return 1 + max(int(pair.name) for pair in pairs)


def with_infos(frames: list[StereoFrame], infos: tuple[CameraInfo, CameraInfo] | None) -> list[StereoFrame]:
    """Gives every frame the calibration, scaled to the size that the images have on disk."""
    if infos is None:
        return frames
    height, width = image_size(first_readable(frame.left_path for frame in frames if frame.left_path))
    left, right = (info.scaled(height, width) for info in infos)
    return [replace(frame, left_info=left, right_info=right) for frame in frames]
