"""Cityscapes' stereo pairs in the folder layout in which they are published.

M. Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016, and
https://github.com/mcordts/cityscapesScripts. Needs the packages leftImg8bit and rightImg8bit side by side; with the
package camera beside them there are camera_infos. The images are rectified, so ``D = 0`` and ``R = I``.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from .calibration import CameraInfo, stereo_pair
from .errors import DatasetError
from .images import IMAGE_SUFFIXES, image_size
from .kitti import list_images
from .stereo import SYNTHETIC_START_NS, Camera, FileStereoSource, StereoFrame

log = logging.getLogger(__name__)

_LEFT, _RIGHT = "leftImg8bit", "rightImg8bit"
_SIZE = (1024, 2048)  # that the calibrations are for


def find_splits(path: Path) -> list[Path]:
    """Splits (``leftImg8bit/train``, ``val``, ``test``) at or below ``path``.

    ``path`` may be the folder that holds leftImg8bit and rightImg8bit, leftImg8bit itself, or a split in it.
    """

    def is_split(folder: Path) -> bool:
        images = (file for file in folder.glob(f"*/*_{_LEFT}.*") if file.suffix.lower() in IMAGE_SUFFIXES)
        return folder.is_dir() and any(not file.name.startswith(".") for file in images)

    named = Path(os.path.abspath(path))  # "." has no name and no parent; links keep theirs
    if named.parent.name == _LEFT:
        return [path] if is_split(path) else []
    left = path if named.name == _LEFT else path / _LEFT
    return sorted(folder for folder in left.iterdir() if is_split(folder)) if left.is_dir() else []


def city_of(frame: str) -> str:
    """The city that a frame was taken in, from its name: ``berlin`` of ``berlin_000000_000019``."""
    return frame.partition("_")[0]


def open_cityscapes(path: Path) -> FileStereoSource:
    """A split of Cityscapes, all cities in order of their names.

    The frames are single moments far apart: stamps are 10 Hz from ``SYNTHETIC_START_NS`` in the order of the names.

    Raises:
        DatasetError: no split or several, files missing or damaged.
    """
    splits = find_splits(path)
    if not splits:
        raise DatasetError(
            f"{path}: looked for a split of Cityscapes ({_LEFT}/test/berlin/berlin_000000_000019_{_LEFT}.png, with "
            f"{_RIGHT} beside {_LEFT}) and found none"
        )
    if len(splits) > 1:
        names = ", ".join(f"{_LEFT}/{split.name}" for split in splits)
        raise DatasetError(f"{path} holds {len(splits)} splits, name one of them: {names}")
    split = Path(os.path.abspath(splits[0]))
    root = split.parent.parent
    if not (root / _RIGHT / split.name).is_dir():
        raise DatasetError(
            f"{split} has no partner {root / _RIGHT / split.name}; unpack {_RIGHT}_trainvaltest.zip beside {_LEFT}"
        )
    frames: list[StereoFrame] = []
    missing = 0
    for name, left, right in _pairs(split, root / _RIGHT / split.name):
        camera = root / "camera" / split.name / city_of(name) / f"{name}_camera.json"
        infos = _read_camera(camera, left) if camera.exists() else (None, None)
        missing += infos[0] is None
        stamp = SYNTHETIC_START_NS + len(frames) * 100_000_000
        frames.append(StereoFrame.of_files(name, left, right, stamp, stamp, *infos))
    if missing:
        log.warning("%s: %d of %d frames have no calibration file, so no camera_info", split, missing, len(frames))
    one, other = (
        Camera(f"/cityscapes/camera_{side}/image_rect", f"camera_{side}", info)
        for side, info in (("left", frames[0].left_info), ("right", frames[0].right_info))
    )
    return FileStereoSource("cityscapes", split, one, other, frames)


def _pairs(left: Path, right: Path) -> list[tuple[str, Path, Path]]:
    """(name, left file, right file) of the cities of a split."""
    pairs = []
    for city in sorted(folder for folder in left.iterdir() if folder.is_dir()):
        partners = right / city.name
        lefts = _by_name(city, _LEFT)
        rights = _by_name(partners, _RIGHT) if partners.is_dir() else {}
        alone = sorted(lefts.keys() ^ rights.keys())
        if alone:
            raise DatasetError(
                f"{city} has {len(lefts)} images and {partners} has {len(rights)}; {len(alone)} have no partner, the "
                f"first is {alone[0]}. Copy what is missing or remove what is alone"
            )
        pairs += [(name, file, rights[name]) for name, file in lefts.items()]
    return pairs


def _by_name(city: Path, package: str) -> dict[str, Path]:
    ending = f"_{package}"
    return {stem.removesuffix(ending): file for stem, file in list_images(city).items() if stem.endswith(ending)}


def _read_camera(path: Path, image: Path) -> tuple[CameraInfo, CameraInfo]:
    """Calibrations of a frame, scaled to the size that the images have on disk."""
    try:
        camera = json.loads(path.read_text("utf-8"))
        inner, baseline = camera["intrinsic"], float(camera["extrinsic"]["baseline"])
        fx, fy, u0, v0 = (float(inner[name]) for name in ("fx", "fy", "u0", "v0"))
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is no calibration of Cityscapes ({error!r}); copy it again") from error
    left = [fx, 0, u0, 0, 0, fy, v0, 0, 0, 0, 1, 0]
    right = [fx, 0, u0, -fx * baseline, 0, fy, v0, 0, 0, 0, 1, 0]
    infos = stereo_pair(left, right, *_SIZE)
    size = image_size(image)
    return infos[0].scaled(*size), infos[1].scaled(*size)
