"""KITTI raw: a drive as published, "synced+rectified data", or unrectified (`_extract`)."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from pathlib import Path

from mdic_ros.datasets.calibration import CameraInfo, KittiCalibration, Matrix, stereo_pair
from mdic_ros.datasets.files import beside, only, pair_folders, places, read_stamps
from mdic_ros.datasets.images import first_readable, image_size
from mdic_ros.datasets.reader import OpenOptions, Reader
from mdic_ros.datasets.readers.kitti import Rig, choose_rig, make_cameras, stamps_needed, with_infos
from mdic_ros.datasets.rectify import refuse_unrectified, settle
from mdic_ros.datasets.stereo import FileStereoSource, StereoFrame, StereoSource

log = logging.getLogger(__name__)

_CALIBRATION = "calib_cam_to_cam.txt"


def parse_utc(text: str) -> int:
    """`2011-09-26 13:04:32.345808896` in ns since 1970, as UTC whatever the time zone of this machine.

    Raises:
        ValueError: not such a time.
    """
    whole, _, fraction = text.strip().partition(".")
    if fraction and not re.fullmatch(r"[0-9]{1,9}", fraction):
        raise ValueError(f"{text!r} is not a time with up to nine decimals")
    moment = datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0") or "0")


def find(path: Path) -> list[Path]:
    """Drives (`*_drive_NNNN_sync`, or what looks like one) at or up to two levels below a path."""

    def is_drive(folder: Path) -> bool:
        return any((folder / f"image_{number:02}" / "data").is_dir() for number in range(4))

    if is_drive(path):
        return [path]
    return sorted(
        folder for pattern in ("*", "*/*") for folder in path.glob(pattern) if folder.is_dir() and is_drive(folder)
    )


def open_drive(path: Path, options: OpenOptions) -> StereoSource:
    """A drive, with the real stamps of both cameras.

    Raises:
        DatasetError: no drive or several, files missing or damaged, or unrectified and nothing said about it.
        ImageError: the first images are damaged, to whose size the calibration is scaled.
    """
    drive = only(path, find(path), "drives", "a KITTI raw drive (2011_09_26_drive_0005_sync/image_02/data/*.png)")
    rig, left, right = choose_rig(drive, options.cameras, lambda _, number: f"image_{number:02}")
    pairs, unpaired = pair_folders(left / "data", right / "data")
    needed = stamps_needed(pairs)
    stamps, right_stamps = (read_stamps(folder / "timestamps.txt", parse_utc, needed) for folder in (left, right))
    numbered = [(pair, int(pair.name)) for pair in pairs]
    frames = [StereoFrame.of_files(pair, stamps[n], right_stamps[n], number=n) for pair, n in numbered]
    calibration = _find_calibration(drive)
    why = _unrectified(drive, first_readable(pair.left for pair in pairs), rig, calibration)
    if options.rectify_images is None:
        refuse_unrectified(drive, why)
    if calibration is None:
        infos = None
    elif why:
        infos = _raw_infos(calibration, rig)
    else:
        infos = stereo_pair(*_projections(calibration, rig), *calibration.size(f"S_rect_{rig.left:02}"))
    frames = with_infos(frames, infos)
    source = FileStereoSource("kitti_raw", drive, *make_cameras(rig, "image_raw", frames), frames, unpaired)
    size = calibration.size(f"S_rect_{rig.left:02}") if calibration and why else None
    left_info, right_info = infos or (None, None)
    return settle(source, left_info, right_info, why, options.rectify_images, size)


def _find_calibration(drive: Path) -> KittiCalibration | None:
    """That of the day, beside the drive or in it."""
    inside = drive / _CALIBRATION
    file = beside(drive, _CALIBRATION) or (inside if inside.exists() else None)
    if file is None:
        day = drive.resolve().parent
        log.warning("no %s in %s, so no camera_info; unzip KITTI's calibration of that day there", _CALIBRATION, day)
        return None
    return KittiCalibration(file)


def _projections(calibration: KittiCalibration, rig: Rig) -> tuple[Matrix, Matrix]:
    return calibration.projection(f"P_rect_{rig.left:02}"), calibration.projection(f"P_rect_{rig.right:02}")


def _raw_infos(calibration: KittiCalibration, rig: Rig) -> tuple[CameraInfo, CameraInfo]:
    """Calibrations of the unrectified images; P is for the rectified ones, which have another size."""
    left, right = (
        CameraInfo(
            *calibration.size(f"S_{number:02}"),
            calibration.matrix(f"K_{number:02}", 3, 3),
            p,
            tuple(calibration.numbers(f"D_{number:02}").tolist()),
            calibration.matrix(f"R_rect_{number:02}", 3, 3),
        )
        for number, p in zip((rig.left, rig.right), _projections(calibration, rig))
    )
    return left, right


def _unrectified(drive: Path, image: Path, rig: Rig, calibration: KittiCalibration | None) -> str:
    """Why the images are not rectified; empty if they are."""
    if any(place.name.endswith("_extract") for place in places(drive)):
        return "drives named _extract are not"
    raw = f"S_{rig.left:02}"
    if calibration is not None and raw in calibration:
        size = calibration.size(raw)
        if size != calibration.size(f"S_rect_{rig.left:02}") and image_size(image) == size:
            return f"its images have the size {raw} of calib_cam_to_cam.txt"
    return ""


READER = Reader(
    "kitti_raw",
    "2011_09_26_drive_0005_sync/image_02/data/0000000000.png and image_03, timestamps.txt in each",
    find,
    open_drive,
)
