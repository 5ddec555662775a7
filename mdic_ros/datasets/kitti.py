"""KITTI in the folder layouts in which it is published: raw, odometry, stereo 2012 and stereo 2015.

References: A. Geiger et al., "Vision meets Robotics: The KITTI Dataset", IJRR 2013, and the readme files of
    the raw
development kit and of the benchmarks (https://www.cvlibs.net/datasets/kitti/).

All images here are rectified. Therefore camera_info has ``D = 0``, ``K = P[:3, :3]`` and ``R = I``; the raw
camera's ``K_xx`` and ``D_xx`` of calib_cam_to_cam.txt do not belong to these pictures, and a node that
rectifies with them would do so twice. For the fourth column of ``P`` see
:func:`~mdic_ros.datasets.calibration.stereo_pair`.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from .calibration import CameraInfo, KittiCalibration, stereo_pair
from .errors import DatasetError
from .images import IMAGE_SUFFIXES, image_size
from .stereo import SYNTHETIC_START_NS, Camera, FileStereoSource, StereoFrame

log = logging.getLogger(__name__)

Cameras = Literal["auto", "color", "gray"]


class _Pair(NamedTuple):
    """A stereo pair of the rig by KITTI's camera numbers."""

    kind: str
    left: int
    right: int
    encoding: str


_COLOR = _Pair("color", 2, 3, "bgr8")
_GRAY = _Pair("gray", 0, 1, "mono8")


def _cameras(pair: _Pair, topic: str, frames: list[StereoFrame]) -> tuple[Camera, Camera]:
    """The two cameras under the names that users of kitti2bag know."""
    names = f"camera_{pair.kind}_left", f"camera_{pair.kind}_right"
    infos = frames[0].left_info, frames[0].right_info
    left, right = (
        Camera(f"/kitti/{name}/{topic}", name, info, pair.encoding) for name, info in zip(names, infos, strict=True)
    )
    return left, right


def _choose(folder: Path, cameras: Cameras, name: Callable[[_Pair, int], str]) -> tuple[_Pair, Path, Path]:
    """The pair of image folders to take below ``folder``: colour before grey."""
    wanted = {"auto": (_COLOR, _GRAY), "color": (_COLOR,), "gray": (_GRAY,)}[cameras]
    for pair in wanted:
        left, right = folder / name(pair, pair.left), folder / name(pair, pair.right)
        if left.is_dir() and right.is_dir():
            return pair, left, right
        if left.is_dir() or right.is_dir():
            here, gone = (left, right) if left.is_dir() else (right, left)
            raise DatasetError(f"{here} has no partner {gone.name} beside it; a stereo pair needs both folders")
    looked = " or ".join(f"{name(p, p.left)} + {name(p, p.right)}" for p in wanted)
    raise DatasetError(f"{folder}: looked for {looked}, found none of them")


def list_images(folder: Path) -> dict[str, Path]:
    """Image files of a folder by stem, in order of their names; hidden files are left out.

    Raises:
        DatasetError: two files share a stem.
    """
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            if path.stem in images:
                raise DatasetError(f"{folder} has both {images[path.stem].name} and {path.name}; remove one of them")
            images[path.stem] = path
    return images


def pair_images(left: Path, right: Path) -> list[tuple[str, Path, Path]]:
    """(stem, left file, right file) of two folders whose files have equal names.

    Raises:
        DatasetError: a folder is empty, or a file has no partner.
    """
    lefts, rights = list_images(left), list_images(right)
    for folder, images in ((left, lefts), (right, rights)):
        if not images:
            raise DatasetError(f"{folder} has no images ({', '.join(IMAGE_SUFFIXES)})")
    alone = sorted(lefts.keys() ^ rights.keys())
    if alone:
        first = lefts.get(alone[0]) or rights[alone[0]]
        raise DatasetError(
            f"{left} has {len(lefts)} images and {right} has {len(rights)}; {len(alone)} have no "
            f"partner of the same name, the first is {first}. Copy what is missing or remove what is alone"
        )
    return [(stem, path, rights[stem]) for stem, path in lefts.items()]


def parse_utc(text: str) -> int:
    """``2011-09-26 13:04:32.345808896`` in ns since 1970, as UTC whatever the time zone of this machine.

    Raises:
        ValueError: not such a time.
    """
    whole, _, fraction = text.strip().partition(".")
    if fraction and not re.fullmatch(r"[0-9]{1,9}", fraction):
        raise ValueError(f"{text!r} is not a time with up to nine decimals")
    moment = datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0") or "0")


def _read_stamps(path: Path, parse: Callable[[str], int]) -> list[int]:
    """Stamps of a file, line by line; empty lines at the end do not count."""
    try:
        lines = path.read_text("ascii", errors="replace").rstrip().splitlines()
    except OSError as error:
        raise DatasetError(
            f"cannot read {path}: {error.strerror}; it holds the stamps, unpack it from the same archive"
        ) from error
    stamps = []
    for number, line in enumerate(lines, 1):
        try:
            stamps.append(parse(line))
        except ValueError as error:
            raise DatasetError(f"{path}, line {number}: {error}") from error
    return stamps


def _stamp_of(stem: str, stamps: list[int], image: Path, file: Path) -> int:
    """KITTI numbers images by the line of their stamp, so a drive with frames removed keeps its times."""
    if not stem.isdecimal():
        raise DatasetError(f"{image}: KITTI names its images by number")
    if int(stem) >= len(stamps):
        raise DatasetError(f"{file} has {len(stamps)} lines, but {image} needs line {int(stem) + 1}; copy it again")
    return stamps[int(stem)]


def _with_infos(frames: list[StereoFrame], infos: tuple[CameraInfo, CameraInfo] | None) -> list[StereoFrame]:
    """Gives every frame the calibration, scaled to the size that the images have on disk."""
    if infos is None:
        return frames
    first = frames[0]
    assert first.left_path and first.right_path
    left, right = (
        infos[0].scaled(*image_size(first.left_path)),
        infos[1].scaled(*image_size(first.right_path)),
    )
    return [replace(frame, left_info=left, right_info=right) for frame in frames]


# --- raw ----------------------------------------------------------------------------------------------------


def find_raw(path: Path) -> list[Path]:
    """Drives (``*_drive_NNNN_sync``, or what looks like one) at or up to two levels below ``path``."""

    def is_drive(folder: Path) -> bool:
        return any((folder / f"image_{number:02}" / "data").is_dir() for number in range(4))

    if is_drive(path):
        return [path]
    return sorted(
        folder for pattern in ("*", "*/*") for folder in path.glob(pattern) if folder.is_dir() and is_drive(folder)
    )


def open_raw(path: Path, cameras: Cameras = "auto") -> FileStereoSource:
    """A drive of KITTI raw, "synced+rectified data", with the real stamps of both cameras.

    Args:
        path: the drive's folder, or one above it that holds exactly one drive.
        cameras: colour (02, 03) or grey (00, 01); auto takes colour where there is colour.

    Raises:
        DatasetError: no drive or several, unrectified data, files missing or damaged.
    """
    drives = find_raw(path)
    if not drives:
        raise DatasetError(
            f"{path}: looked for a KITTI raw drive (2011_09_26_drive_0005_sync/image_02/data/*.png), found none"
        )
    if len(drives) > 1:
        names = ", ".join(str(d.relative_to(path)) for d in drives[:8])
        raise DatasetError(f"{path} holds {len(drives)} drives, name one of them: {names}")
    drive = drives[0]
    if drive.name.endswith("_extract"):
        raise DatasetError(f"{drive} is unrectified; download the 'synced+rectified data' of this drive instead")
    pair, left, right = _choose(drive, cameras, lambda _, number: f"image_{number:02}")
    times = [(folder / "timestamps.txt") for folder in (left, right)]
    stamps = [_read_stamps(file, parse_utc) for file in times]
    frames = [
        StereoFrame.of_files(
            stem, a, b, _stamp_of(stem, stamps[0], a, times[0]), _stamp_of(stem, stamps[1], b, times[1])
        )
        for stem, a, b in pair_images(left / "data", right / "data")
    ]
    infos = None
    for folder in (drive.parent, drive):
        file = folder / "calib_cam_to_cam.txt"
        if file.exists():
            calibration = KittiCalibration(file)
            size = calibration.size(f"S_rect_{pair.left:02}")
            infos = stereo_pair(
                calibration.projection(f"P_rect_{pair.left:02}"),
                calibration.projection(f"P_rect_{pair.right:02}"),
                *size,
            )
            break
    else:
        log.warning(
            "no calib_cam_to_cam.txt in %s, so no camera_info; unzip KITTI's calibration of that day there",
            drive.parent,
        )
    frames = _with_infos(frames, infos)
    return FileStereoSource("kitti_raw", drive, *_cameras(pair, "image_raw", frames), frames)


# --- odometry -----------------------------------------------------------------------------------------------


def find_odometry(path: Path) -> list[Path]:
    """Sequences (a folder with times.txt and image_0 or image_2) at ``path`` or below its ``sequences``."""

    def is_sequence(folder: Path) -> bool:
        pairs = (folder / "image_0", folder / "image_2")
        return any(p.is_dir() for p in pairs) and (
            (folder / "times.txt").exists() or (folder.parent.name == "sequences" and folder.name.isdecimal())
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


def open_odometry(path: Path, cameras: Cameras = "auto") -> FileStereoSource:
    """A sequence of KITTI odometry; times.txt counts from 0, stamps count from ``SYNTHETIC_START_NS``.

    Raises:
        DatasetError: no sequence or several, files missing or damaged.
    """
    sequences = find_odometry(path)
    if not sequences:
        raise DatasetError(
            f"{path}: looked for a KITTI odometry sequence (sequences/00 with image_2, image_3, calib.txt "
            "and times.txt) and found none"
        )
    if len(sequences) > 1:
        names = ", ".join(str(s.relative_to(path)) for s in sequences[:12])
        raise DatasetError(f"{path} holds {len(sequences)} sequences, name one of them: {names}")
    sequence = sequences[0]
    pair, left, right = _choose(sequence, cameras, lambda _, number: f"image_{number}")
    times = sequence / "times.txt"
    stamps = _read_stamps(times, _parse_seconds)
    frames = []
    for stem, a, b in pair_images(left, right):
        stamp = _stamp_of(stem, stamps, a, times)
        frames.append(StereoFrame.of_files(stem, a, b, stamp, stamp))
    infos, file = None, sequence / "calib.txt"
    if file.exists():
        calibration = KittiCalibration(file)
        first = frames[0].left_path
        assert first
        infos = stereo_pair(
            calibration.projection(f"P{pair.left}"),
            calibration.projection(f"P{pair.right}"),
            *image_size(first),
        )
    else:
        log.warning("no %s, so there is no camera_info; unzip KITTI's odometry calibration files there", file)
    frames = _with_infos(frames, infos)
    return FileStereoSource("kitti_odometry", sequence, *_cameras(pair, "image_rect", frames), frames)


# --- stereo 2012 and 2015 -----------------------------------------------------------------------------------

_SCENE = re.compile(r"\d{6}_\d{2}")


def _stereo_folder(pair: _Pair, number: int, year: int) -> str:
    if year == 2012:
        return f"{'colored' if pair.kind == 'color' else 'image'}_{number % 2}"
    return f"image_{number}"


def find_stereo(path: Path) -> list[Path]:
    """Splits (``training``, ``testing``) of the stereo benchmarks at or below ``path``."""

    def is_split(folder: Path) -> bool:
        for name in ("image_2", "colored_0", "image_0"):
            if (folder / name).is_dir():
                return any(_SCENE.fullmatch(file.stem) for file in (folder / name).iterdir())
        return False

    if is_split(path):
        return [path]
    return [path / name for name in ("training", "testing") if is_split(path / name)]


def _scene_infos(split: Path, scene: str, pair: _Pair, size: tuple[int, int]) -> tuple[CameraInfo, CameraInfo] | None:
    number = scene.partition("_")[0]
    new, old = split / "calib_cam_to_cam" / f"{number}.txt", split / "calib" / f"{number}.txt"
    if new.exists():  # 2015
        file = KittiCalibration(new)
        names = f"P_rect_{pair.left:02}", f"P_rect_{pair.right:02}"
    elif old.exists():  # 2012
        file = KittiCalibration(old)
        names = f"P{pair.left}", f"P{pair.right}"
    else:
        return None
    return stereo_pair(file.projection(names[0]), file.projection(names[1]), *size)


def open_stereo_benchmark(path: Path, cameras: Cameras = "auto") -> FileStereoSource:
    """The scenes of KITTI stereo 2012 or 2015 (``*_10``, ``*_11``, and the multi-view frames where they are).

    The scenes have no times: stamps are 10 Hz from ``SYNTHETIC_START_NS`` in the order of the names. Image
        sizes and
    calibrations differ from scene to scene, so take them from the frame.

    Raises:
        DatasetError: no split or both, both years in one folder, files missing or damaged.
    """
    splits = find_stereo(path)
    if not splits:
        raise DatasetError(
            f"{path}: looked for a split of KITTI stereo (training/image_2/000000_10.png of 2015, or "
            "training/colored_0/000000_10.png of 2012) and found none"
        )
    if len(splits) > 1:
        raise DatasetError(f"{path} holds the splits {' and '.join(s.name for s in splits)}, name one of them")
    split = splits[0]
    year = 2015 if (split / "image_2").is_dir() else 2012
    if year == 2015 and (split / "colored_0").is_dir():
        raise DatasetError(
            f"{split} mixes scenes of 2012 (colored_0) and 2015 (image_2); unpack each in its own folder"
        )
    pair, left, right = _choose(split, cameras, lambda p, number: _stereo_folder(p, number, year))
    frames: list[StereoFrame] = []
    missing = 0
    for index, (stem, a, b) in enumerate(pair_images(left, right)):
        if not _SCENE.fullmatch(stem):
            raise DatasetError(f"{a}: expected a name like 000000_10")
        infos = _scene_infos(split, stem, pair, image_size(a))
        missing += infos is None
        stamp = SYNTHETIC_START_NS + index * 100_000_000
        frames.append(StereoFrame.of_files(stem, a, b, stamp, stamp, *(infos or (None, None))))
    if missing:
        log.warning("%s: %d of %d frames have no calibration file, so no camera_info", split, missing, len(frames))
    return FileStereoSource("kitti_stereo", split, *_cameras(pair, "image_rect", frames), frames)
