"""The scenes of KITTI stereo 2012 and 2015, rectified."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from pathlib import Path

from mdic_ros.datasets.calibration import CameraInfo, KittiCalibration, stereo_pair
from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.files import only, pair_folders
from mdic_ros.datasets.images import image_size
from mdic_ros.datasets.reader import OpenOptions, Reader
from mdic_ros.datasets.readers.kitti import Rig, choose_rig, make_cameras
from mdic_ros.datasets.stereo import SYNTHETIC_START_NS, FileStereoSource, StereoFrame
from mdic_ros.errors import ImageError

log = logging.getLogger(__name__)

_SCENE = re.compile(r"\d{6}_\d{2}")


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


def _scene_infos(split: Path, scene: str, rig: Rig, size: tuple[int, int]) -> tuple[CameraInfo, CameraInfo] | None:
    number = scene.partition("_")[0]
    new, old = split / "calib_cam_to_cam" / f"{number}.txt", split / "calib" / f"{number}.txt"
    if new.exists():  # 2015
        file = KittiCalibration(new)
        names = f"P_rect_{rig.left:02}", f"P_rect_{rig.right:02}"
    elif old.exists():  # 2012
        file = KittiCalibration(old)
        names = f"P{rig.left}", f"P{rig.right}"
    else:
        return None
    return stereo_pair(file.projection(names[0]), file.projection(names[1]), *size)


def open_split(path: Path, options: OpenOptions) -> FileStereoSource:
    """The scenes of a split (`*_10`, `*_11`, and the multi-view frames where they are).

    The scenes have no times: stamps are 10 Hz from `SYNTHETIC_START_NS` in the order of the names. Image sizes and
    calibrations differ from scene to scene, so take them from the frame.

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
    frames: list[StereoFrame] = []
    missing = 0
    pairs, unpaired = pair_folders(left, right)
    for index, pair in enumerate(pairs):
        if not _SCENE.fullmatch(pair.name):
            raise DatasetError(f"{pair.left}: expected a name like 000000_10; move other images elsewhere")
        infos = None
        with suppress(ImageError):  # which loading the damaged image will say
            infos = _scene_infos(split, pair.name, rig, image_size(pair.left))
        missing += infos is None
        stamp = SYNTHETIC_START_NS + index * 100_000_000
        frames.append(StereoFrame.of_files(pair, stamp, stamp, *(infos or (None, None))))
    if missing:
        log.warning("%s: %d of %d frames have no calibration file, so no camera_info", split, missing, len(frames))
    return FileStereoSource("kitti_stereo", split, *make_cameras(rig, "image_rect", frames), frames, unpaired)


READER = Reader(
    "kitti_stereo",
    "training/image_2/000000_10.png and image_3 (2015), training/colored_0, colored_1 (2012)",
    find,
    open_split,
)
