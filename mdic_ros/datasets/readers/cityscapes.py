"""Cityscapes' stereo pairs in the folder layout in which they are published.

M. Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016, and
https://github.com/mcordts/cityscapesScripts. Needs the packages leftImg8bit and rightImg8bit side by side; with the
package camera beside them there are camera_infos. The images are rectified, so `D = 0` and `R = I`.
"""

from __future__ import annotations

import json
from pathlib import Path

from mdic_ros.datasets.calibration import stereo_pair
from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.files import ImagePair, Unpaired, by_name, image_files, only, pair_by_name, places, read_text
from mdic_ros.datasets.images import IMAGE_SUFFIXES, image_size
from mdic_ros.datasets.reader import OpenOptions, Reader
from mdic_ros.datasets.readers.scenes import Infos, make_frames
from mdic_ros.datasets.stereo import Camera, FileStereoSource

_LEFT, _RIGHT = "leftImg8bit", "rightImg8bit"
_SIZE = (1024, 2048)  # that the calibrations are for


def find(path: Path) -> list[Path]:
    """Splits (`leftImg8bit/train`, `val`, `test`) at or below a path.

    `path` may be the folder that holds leftImg8bit and rightImg8bit, leftImg8bit itself, or a split in it.
    """

    def is_split(folder: Path) -> bool:
        images = (file for file in folder.glob(f"*/*_{_LEFT}.*") if file.suffix.lower() in IMAGE_SUFFIXES)
        return folder.is_dir() and any(not file.name.startswith(".") for file in images)

    ways = places(path)
    if any(way.parent.name == _LEFT for way in ways):
        return [path] if is_split(path) else []
    left = path if any(way.name == _LEFT for way in ways) else path / _LEFT
    return sorted(folder for folder in left.iterdir() if is_split(folder)) if left.is_dir() else []


def open_split(path: Path, options: OpenOptions) -> FileStereoSource:
    """A split of Cityscapes, all cities in order of their names.

    The frames are single moments far apart; for their stamps see `make_frames`.

    Raises:
        DatasetError: no split or several, files missing or damaged.
    """
    example = (
        f"a split of Cityscapes ({_LEFT}/test/berlin/berlin_000000_000019_{_LEFT}.png, with {_RIGHT} beside {_LEFT})"
    )
    split = only(path, find(path), "splits", example)
    roots = [way.parent.parent for way in places(split)]
    root = next((root for root in roots if (root / _RIGHT / split.resolve().name).is_dir()), None)
    if root is None:
        raise DatasetError(
            f"{split} has no partner {roots[0] / _RIGHT / split.resolve().name}; "
            f"unpack {_RIGHT}_trainvaltest.zip beside {_LEFT}"
        )
    name = split.resolve().name
    pairs, unpaired = _pairs(split, root / _RIGHT / name)
    cameras = root / "camera" / name
    frames = make_frames(split, pairs, lambda pair: _read_camera(cameras, pair))
    one, other = (
        Camera(f"/cityscapes/camera_{side}/image_rect", f"camera_{side}", info)
        for side, info in (("left", frames[0].left_info), ("right", frames[0].right_info))
    )
    return FileStereoSource("cityscapes", split, one, other, frames, unpaired)


def _pairs(left: Path, right: Path) -> tuple[list[ImagePair], Unpaired]:
    """The pairs of all cities of a split, in the order of cities and names."""
    return pair_by_name(_by_frame(left, _LEFT), _by_frame(right, _RIGHT), left, right)


def _by_frame(split: Path, package: str) -> dict[str, Path]:
    """The images of a split by the names of their frames, which begin with the city."""
    cities = sorted(folder for folder in split.iterdir() if folder.is_dir())
    files = [file for city in cities for file in image_files(city) if file.stem.endswith(f"_{package}")]
    return by_name(files, lambda stem: stem.removesuffix(f"_{package}"))


def _read_camera(folder: Path, pair: ImagePair) -> Infos | None:
    """Calibrations of a frame, scaled to the size that the images have on disk; None if there is no file."""
    city = pair.name.partition("_")[0]  # of berlin_000000_000019
    path = folder / city / f"{pair.name}_camera.json"
    if not path.exists():
        return None
    try:
        camera = json.loads(read_text(path))
        inner, baseline = camera["intrinsic"], float(camera["extrinsic"]["baseline"])
        fx, fy, u0, v0 = (float(inner[name]) for name in ("fx", "fy", "u0", "v0"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(f"{path} is no calibration of Cityscapes ({error!r}); copy it again") from error
    left = [fx, 0, u0, 0, 0, fy, v0, 0, 0, 0, 1, 0]
    right = [fx, 0, u0, -fx * baseline, 0, fy, v0, 0, 0, 0, 1, 0]
    infos = stereo_pair(left, right, *_SIZE)
    size = image_size(pair.left)
    return infos[0].scaled(*size), infos[1].scaled(*size)


READER = Reader(
    "cityscapes",
    "leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png and rightImg8bit beside leftImg8bit",
    find,
    open_split,
    splits=True,
)
