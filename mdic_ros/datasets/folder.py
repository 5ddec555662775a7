"""Plain folders: ``left/`` and ``right/`` with image files of equal names."""

from __future__ import annotations

from pathlib import Path

from .calibration import read_ros_yaml
from .errors import DatasetError
from .images import image_size
from .kitti import pair_images
from .stereo import SYNTHETIC_START_NS, Camera, FileStereoSource, StereoFrame


def is_folder(path: Path) -> bool:
    """Whether there is a ``left`` or a ``right`` below ``path``."""
    return (path / "left").is_dir() or (path / "right").is_dir()


def open_folder(path: Path, rate_hz: float = 10.0) -> FileStereoSource:
    """``left/*.png`` and ``right/*.png`` (or JPEG, WebP), paired by name.

    Stamps are made up: ``rate_hz`` frames per second from ``SYNTHETIC_START_NS``. ``left.yaml`` and
        ``right.yaml``
    beside the folders, in the form that ROS's camera_calibration writes, become the camera infos.

    Raises:
        DatasetError: a folder is missing or empty, a file has no partner, a calibration is not one.
    """
    left, right = path / "left", path / "right"
    for folder in (left, right):
        if not folder.is_dir():
            raise DatasetError(f"{path}: looked for the folders left and right, {folder.name} is not there")
    if not 0 < rate_hz <= 1e6:
        raise DatasetError(f"rate_hz is {rate_hz}, it must be above 0")
    pairs = pair_images(left, right)
    infos = []
    for folder, image in ((left, pairs[0][1]), (right, pairs[0][2])):
        file = path / f"{folder.name}.yaml"
        infos.append(read_ros_yaml(file).scaled(*image_size(image)) if file.exists() else None)
    frames = []
    for index, (stem, a, b) in enumerate(pairs):
        stamp = SYNTHETIC_START_NS + round(index * 1e9 / rate_hz)
        frames.append(StereoFrame.of_files(stem, a, b, stamp, stamp, *infos))
    one, other = (
        Camera(f"/stereo/{name}/image_raw", f"stereo_{name}", info)
        for name, info in zip(("left", "right"), infos, strict=True)
    )
    return FileStereoSource("folder", path, one, other, frames)
