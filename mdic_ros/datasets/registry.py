"""The readers, and the one way in: tell the kind of a recording by looking at it."""

from __future__ import annotations

import logging
from pathlib import Path

from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.layout import LAYOUTS
from mdic_ros.datasets.reader import Cameras, OpenOptions, Reader
from mdic_ros.datasets.readers import (
    bag,
    cityscapes,
    euroc,
    folder,
    kitti_odometry,
    kitti_raw,
    kitti_stereo,
)
from mdic_ros.datasets.stereo import StereoSource
from mdic_ros.datasets.timing import DEFAULT_SLOP_S
from mdic_ros.errors import ImageError

log = logging.getLogger(__name__)

#: All readers, in the order in which a path is shown to them: the particular ones first.
READERS: tuple[Reader, ...] = (
    bag.READER,
    kitti_odometry.READER,
    kitti_stereo.READER,
    kitti_raw.READER,
    euroc.READER,
    cityscapes.READER,
    folder.READER,
)


def detect_layout(path: Path) -> str:
    """The name of the reader for a recording, one of `LAYOUTS`.

    Raises:
        DatasetError: no reader knows it; the message says what they look for.
    """
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    try:
        for reader in READERS:
            if reader.matches(path):
                return reader.name
    except OSError as error:
        raise DatasetError(f"cannot read {error.filename or path}: {error.strerror}") from error
    if path.is_file():
        raise DatasetError(f"{path} is a file, and not of a bag; a recording is a folder or a bag")
    known = "\n".join(f"  {reader.name:<15} {reader.description}" for reader in READERS)
    raise DatasetError(f"{path}: not a recording of a known layout. Looked for\n{known}")


def open_stereo(
    path: str | Path,
    layout: str = "auto",
    *,
    cameras: Cameras = "auto",
    left_topic: str | None = None,
    right_topic: str | None = None,
    slop_s: float = DEFAULT_SLOP_S,
    rate_hz: float = 10.0,
    rectify_images: bool | None = None,
) -> StereoSource:
    """Opens a stereo recording of any kind in `LAYOUTS`.

    Args:
        path: where it is; a folder above it will do when it holds only one recording.
        layout: one of `LAYOUTS`; auto looks at the files.
        cameras, left_topic, right_topic, slop_s, rate_hz, rectify_images: see `OpenOptions`.

    Returns:
        A sequence of `StereoFrame`, whose images are decoded when they are looked at.

    Raises:
        DatasetError: not found, incomplete, damaged or ambiguous; the message says what to do.
    """
    path = Path(path)
    name = detect_layout(path) if layout == "auto" else layout
    reader = next((reader for reader in READERS if reader.name == name), None)
    if reader is None:
        raise DatasetError(f"unknown layout '{name}', there are {', '.join(LAYOUTS)}")
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    try:
        source = reader.open(path, OpenOptions(cameras, left_topic, right_topic, slop_s, rate_hz, rectify_images))
        if name == "folder" and len(source) == 1 and (inside := _inside(path)):  # a pair beside the recordings
            names = " or ".join(str(recording) for recording in inside[:3])
            log.warning("%s: only one pair here; did you mean %s?", path, names)
        return source
    except ImageError as error:  # of the first images, to whose size calibrations are scaled
        raise DatasetError(str(error)) from error
    except OSError as error:
        raise DatasetError(f"cannot read {error.filename or path}: {error.strerror}") from error


def _inside(path: Path) -> list[Path]:
    """The sub-folders of a folder that are, or hold, recordings of their own."""
    folders = (folder for folder in sorted(path.iterdir()) if folder.is_dir() and not folder.name.startswith("."))
    return [folder for folder in folders if any(reader.matches(folder) for reader in READERS)]
