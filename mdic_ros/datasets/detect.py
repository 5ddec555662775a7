"""One way in: tell the layout of a recording by looking at it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from . import cityscapes, folder, kitti
from .bag import is_bag
from .bag_stereo import DEFAULT_SLOP_S, open_bag
from .errors import DatasetError
from .stereo import StereoSource

Layout = Literal["auto", "kitti_raw", "kitti_odometry", "kitti_stereo", "cityscapes", "folder", "bag"]

#: Names of the layouts, without ``auto``.
LAYOUTS: tuple[str, ...] = get_args(Layout)[1:]

_LOOKED_FOR = """\
  kitti_raw       2011_09_26_drive_0005_sync/image_02/data/0000000000.png and image_03, timestamps.txt in each
  kitti_odometry  sequences/00/image_2/000000.png and image_3, times.txt and calib.txt beside them
  kitti_stereo    training/image_2/000000_10.png and image_3 (2015), training/colored_0, colored_1 (2012)
  cityscapes      leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png and rightImg8bit beside leftImg8bit
  folder          left/NAME.png and right/NAME.png (or .jpg, .webp)
  bag             a folder with metadata.yaml, or an .mcap or .db3 file"""


def detect_layout(path: Path) -> str:
    """The layout of a recording, one of :data:`LAYOUTS`.

    Raises:
        DatasetError: it looks like none of them; the message says what was looked for.
    """
    if is_bag(path):
        return "bag"
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    if path.is_dir():
        for layout, found in (
            ("kitti_odometry", kitti.find_odometry),
            ("kitti_stereo", kitti.find_stereo),
            ("kitti_raw", kitti.find_raw),
            ("cityscapes", cityscapes.find_splits),
            ("folder", folder.is_folder),
        ):
            if found(path):
                return layout
    raise DatasetError(f"{path}: not a recording of a known layout. Looked for\n{_LOOKED_FOR}")


def open_stereo(
    path: str | Path,
    layout: Layout = "auto",
    *,
    cameras: kitti.Cameras = "auto",
    left_topic: str | None = None,
    right_topic: str | None = None,
    slop_s: float = DEFAULT_SLOP_S,
    rate_hz: float = 10.0,
) -> StereoSource:
    """Open a stereo recording: KITTI raw, odometry, stereo 2012/2015, Cityscapes, left/right folders, or a bag.

    Args:
        path: where it is; a folder above it will do when it holds only one recording.
        layout: auto looks at the files.
        cameras: KITTI: the colour or the grey pair; auto takes colour where there is colour.
        left_topic, right_topic, slop_s: bags: see :func:`~mdic_ros.datasets.bag_stereo.open_bag`.
        rate_hz: plain folders: frame rate of the stamps, which are made up.

    Returns:
        A sequence of :class:`StereoFrame`, whose images are decoded when they are looked at.

    Raises:
        DatasetError: not found, incomplete, damaged or ambiguous; the message says what to do.
    """
    path = Path(path)
    name = detect_layout(path) if layout == "auto" else layout
    if name not in LAYOUTS:
        raise DatasetError(f"unknown layout '{name}', there are {', '.join(LAYOUTS)}")
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    if name == "bag":
        return open_bag(path, left_topic, right_topic, slop_s)
    if not path.is_dir():
        raise DatasetError(f"{path} is not a folder")
    try:
        if name == "kitti_raw":
            return kitti.open_raw(path, cameras)
        if name == "kitti_odometry":
            return kitti.open_odometry(path, cameras)
        if name == "kitti_stereo":
            return kitti.open_stereo_benchmark(path, cameras)
        if name == "cityscapes":
            return cityscapes.open_cityscapes(path)
        return folder.open_folder(path, rate_hz)
    except OSError as error:
        raise DatasetError(f"cannot read {error.filename or path}: {error.strerror}") from error
