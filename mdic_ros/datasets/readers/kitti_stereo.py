"""The scenes of KITTI stereo 2012 and 2015, rectified."""

from __future__ import annotations

import re
from pathlib import Path

from mdic_ros.datasets.calibration import KittiCalibration, stereo_pair
from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.files import ImagePair, only, pair_folders
from mdic_ros.datasets.images import image_size
from mdic_ros.datasets.reader import OpenOptions, Reader
from mdic_ros.datasets.readers.kitti import Rig, choose_rig, make_cameras
from mdic_ros.datasets.readers.scenes import Infos, make_frames
from mdic_ros.datasets.stereo import FileStereoSource

_SCENE = re.compile(r"\d{6}_\d{2}")
_REFERENCE = "_10"  #: the frame of a scene that the benchmark measures


def find(path: Path) -> list[Path]:
    """Splits (`training`, `testing`) of the stereo benchmarks at or below a path."""

    def is_split(folder: Path) -> bool:
        for name in ("image_2", "colored_0", "image_0"):
            if (folder / name).is_dir():
                return any(_SCENE.fullmatch(file.stem) for file in (folder / name).iterdir())
        return False

    if is_split(path):
        return [path]
    return [path / name for name in ("training", "testing") if is_split(path / name)]


def _folder_name(rig: Rig, number: int, year: int) -> str:
    if year == 2012:
        return f"{'colored' if rig.kind == 'color' else 'image'}_{number % 2}"
    return f"image_{number}"


def _scene_infos(split: Path, pair: ImagePair, rig: Rig) -> Infos | None:
    number = pair.name.partition("_")[0]
    new, old = split / "calib_cam_to_cam" / f"{number}.txt", split / "calib" / f"{number}.txt"
    if new.exists():  # 2015
        file = KittiCalibration(new)
        names = f"P_rect_{rig.left:02}", f"P_rect_{rig.right:02}"
    elif old.exists():  # 2012
        file = KittiCalibration(old)
        names = f"P{rig.left}", f"P{rig.right}"
    else:
        return None
    return stereo_pair(file.projection(names[0]), file.projection(names[1]), *image_size(pair.left))


def open_split(path: Path, options: OpenOptions) -> FileStereoSource:
    """The scenes of a split (`*_10`, `*_11`, and the multi-view frames where they are).

    For their stamps see `make_frames`. Image sizes and calibrations differ from scene to scene, so take them from the
    frame.

    Raises:
        DatasetError: no split or both, both years in one folder, files missing or damaged.
    """
    example = (
        "a split of KITTI stereo (training/image_2/000000_10.png of 2015, or training/colored_0/000000_10.png of 2012)"
    )
    split = only(path, find(path), "splits", example)
    year = 2015 if (split / "image_2").is_dir() else 2012
    if year == 2015 and (split / "colored_0").is_dir():
        raise DatasetError(
            f"{split} mixes scenes of 2012 (colored_0) and 2015 (image_2); unpack each in its own folder"
        )
    rig, left, right = choose_rig(split, options.cameras, lambda r, number: _folder_name(r, number, year))
    pairs, unpaired = pair_folders(left, right)
    for pair in pairs:
        if not _SCENE.fullmatch(pair.name):
            raise DatasetError(f"{pair.left}: expected a name like 000000_10; move other images elsewhere")
    frames = make_frames(
        split, pairs, lambda pair: _scene_infos(split, pair, rig), lambda pair: pair.name.endswith(_REFERENCE)
    )
    return FileStereoSource("kitti_stereo", split, *make_cameras(rig, "image_rect", frames), frames, unpaired)


READER = Reader(
    "kitti_stereo",
    "training/image_2/000000_10.png and image_3 (2015), training/colored_0, colored_1 (2012)",
    find,
    open_split,
    splits=True,
)
