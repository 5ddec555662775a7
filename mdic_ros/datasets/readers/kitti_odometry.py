"""KITTI odometry: rectified sequences whose times count from 0."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from mdic_ros.datasets.calibration import KittiCalibration, stereo_pair
from mdic_ros.datasets.files import only, pair_folders, places, read_stamps
from mdic_ros.datasets.images import first_readable, image_size
from mdic_ros.datasets.reader import OpenOptions, Reader
from mdic_ros.datasets.readers.kitti import choose_rig, make_cameras, stamps_needed, with_infos
from mdic_ros.datasets.stereo import SYNTHETIC_START_NS, FileStereoSource, StereoFrame

log = logging.getLogger(__name__)


def find(path: Path) -> list[Path]:
    """Sequences (a folder with times.txt and image_0 or image_2) at a path or below its `sequences`."""

    def is_sequence(folder: Path) -> bool:
        return any((folder / name).is_dir() for name in ("image_0", "image_2")) and (
            (folder / "times.txt").exists()
            or any(place.parent.name == "sequences" and place.name.isdecimal() for place in places(folder))
        )

    if is_sequence(path):
        return [path]
    roots = (path, path / "sequences", path / "dataset" / "sequences")
    return sorted(f for root in roots if root.is_dir() for f in root.iterdir() if f.is_dir() and is_sequence(f))


def _parse_seconds(text: str) -> int:
    seconds = float(text)
    if not (math.isfinite(seconds) and 0 <= seconds < 1e9):
        raise ValueError(f"{text!r} is not a time in seconds")
    return SYNTHETIC_START_NS + round(seconds * 1e9)


def open_sequence(path: Path, options: OpenOptions) -> FileStereoSource:
    """A sequence; stamps count from `SYNTHETIC_START_NS`.

    Raises:
        DatasetError: no sequence or several, files missing or damaged.
        ImageError: the first images are damaged, to whose size the calibration is scaled.
    """
    example = "a KITTI odometry sequence (sequences/00 with image_2, image_3, calib.txt and times.txt)"
    sequence = only(path, find(path), "sequences", example)
    rig, left, right = choose_rig(sequence, options.cameras, lambda _, number: f"image_{number}")
    pairs, unpaired = pair_folders(left, right)
    stamps = read_stamps(sequence / "times.txt", _parse_seconds, stamps_needed(pairs))
    numbered = [(pair, int(pair.name)) for pair in pairs]
    frames = [StereoFrame.of_files(pair, stamps[n], stamps[n], number=n) for pair, n in numbered]
    file = sequence / "calib.txt"
    if file.exists():
        calibration = KittiCalibration(file)
        projections = calibration.projection(f"P{rig.left}"), calibration.projection(f"P{rig.right}")
        frames = with_infos(frames, stereo_pair(*projections, *image_size(first_readable(pair.left for pair in pairs))))
    else:
        log.warning("no %s, so there is no camera_info; unzip KITTI's odometry calibration files there", file)
    return FileStereoSource("kitti_odometry", sequence, *make_cameras(rig, "image_rect", frames), frames, unpaired)


READER = Reader(
    "kitti_odometry",
    "sequences/00/image_2/000000.png and image_3, times.txt and calib.txt beside them",
    find,
    open_sequence,
)
