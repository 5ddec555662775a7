"""Plain folders of image files: one folder for each camera, or one for both whose file names tell left from right."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mdic_ros.datasets.calibration import CameraInfo, read_ros_yaml
from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.files import ImagePair, Unpaired, by_name, image_files, pair_by_name
from mdic_ros.datasets.images import first_readable, image_size
from mdic_ros.datasets.reader import Cameras, OpenOptions, Reader
from mdic_ros.datasets.rectify import settle
from mdic_ros.datasets.stereo import SYNTHETIC_START_NS, Camera, FileStereoSource, StereoFrame, StereoSource

_WORD = re.compile(r"(?<![a-z])(left|right)|(left|right)(?![a-z])", re.IGNORECASE)
_LETTER = re.compile(r"(?<![a-z0-9])[lr](?![a-z0-9])", re.IGNORECASE)
_COUNTED = "cam|camera|im|img|image|view"
#: Names of folders that number their cameras: how plainly (see `Side`), the words before the number, and the numbers of
#: the left and the right one.
FOLDER_NUMBERS = (
    (2, f"{_COUNTED}|colored", 0, 1),
    (2, f"{_COUNTED}|colored", 2, 3),  # KITTI's colour cameras
    (3, f"{_COUNTED}|infra|ir", 1, 2),  # RealSense, and whoever counts from 1
    (4, "view", 1, 5),  # Middlebury 2005 and 2006
    (4, "im", 2, 6),  # Middlebury 2001 and 2003
    (4, "camera", 5, 6),  # ApolloScape
)
#: The same of files: there the number after "image" is that of the frame.
FILE_NUMBERS = (
    (2, "cam|camera|im", 0, 1),
    (4, "view", 1, 5),
    (4, "im", 2, 6),
)


class Side(NamedTuple):
    """What a name says about the camera.

    Attributes:
        right: whether it is the right one.
        rank: how plainly the name says so: 0 by a word, 1 by a letter, 2 and more by the number of a camera.
        rest: what is left of the name; the same for both names of a pair.
    """

    right: bool
    rank: int
    rest: str


def sides_of(name: str, *, file: bool) -> list[Side]:
    """Tells left from right by a name: left, Right, image_left, leftImages, l, cam0, image_3; left_000, 000_R, im1.

    A number may say several things: cam1 is right of cam0, or left of cam2.

    Args:
        name: of a folder, or of a file without its suffix.
        file: which of them.

    Returns:
        What the name may say, the plainest first; nothing if it says nothing.
    """
    if match := _WORD.search(name):
        return [Side(match[0].lower() == "right", 0, _without(name, match))]
    if match := _LETTER.search(name):
        return [Side(match[0].lower() == "r", 1, _without(name, match))]
    found = []
    for rank, words, left, right in FILE_NUMBERS if file else FOLDER_NUMBERS:
        match = re.search(rf"(?<![a-z])(?:{words})[_-]?0?({left}|{right})(?![0-9])", name, re.IGNORECASE)
        if match:
            rest = _without(name, match) if file else f"{name[: match.start(1)]}{left}{name[match.end(1) :]}"
            found.append(Side(int(match[1]) == right, rank, rest))
    return found


def _without(name: str, match: re.Match[str]) -> str:
    """The name without a word and what separates it."""
    before, after = name[: match.start()].rstrip("_-. "), name[match.end() :].lstrip("_-. ")
    return f"{before}_{after}" if before and after else before or after


class _Folders(NamedTuple):
    """The folders of the two cameras; one of them may be missing."""

    left: Path | None
    right: Path | None


def _candidates(path: Path) -> list[_Folders]:
    """Pairs of folders with images, only those whose names are plainest; a half one if there is no whole one."""
    named: dict[tuple[int, str], list[Path | None]] = {}
    for inner in sorted(path.iterdir()):
        for side in sides_of(inner.name, file=False) if inner.is_dir() and not inner.name.startswith(".") else ():
            named.setdefault((side.rank, side.rest), [None, None])[side.right] = inner
    whole = {key: pair for key, pair in named.items() if all(folder and _images_in(folder) for folder in pair)}
    plainest = min(((rank, rest != "") for rank, rest in whole), default=None)
    if plainest:
        return [_Folders(*pair) for (rank, rest), pair in whole.items() if (rank, rest != "") == plainest]
    return [_Folders(*named[0, ""])] if (0, "") in named else []


def _images_in(folder: Path) -> Path | None:
    """The folder itself or its `data`, whichever has images; None if neither has."""
    return next((place for place in (folder, folder / "data") if place.is_dir() and image_files(place)), None)


def _by_side(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images of both cameras in one folder, by the rest of their names."""
    sides: tuple[dict[str, Path], dict[str, Path]] = ({}, {})
    for file in image_files(folder):
        for side in sides_of(file.stem, file=True):
            sides[side.right].setdefault(side.rest, file)
    return sides


def find(path: Path) -> list[Path]:
    """The path itself, if it has folders of two cameras, or one that should be two, or files of both."""
    if not path.is_dir():
        return []
    lefts, rights = _by_side(path)
    return [path] if _candidates(path) or not lefts.keys().isdisjoint(rights) else []


def open_folder(path: Path, options: OpenOptions) -> StereoSource:
    """Images paired by their names. Stamps are made up: `rate_hz` frames a second from `SYNTHETIC_START_NS`.

    Calibrations in the form that ROS's camera_calibration writes become the camera infos: left.yaml and right.yaml
    beside the images or the folders, or named like the folders.

    Raises:
        DatasetError: a folder is missing or empty, no two files belong together, a calibration is none, or the images
            are not rectified by it and nothing is said about that.
        ImageError: the first images are damaged, to whose size the calibration is scaled.
    """
    if not 0 < options.rate_hz <= 1e6:
        raise DatasetError(f"rate_hz is {options.rate_hz}, it must be a finite number above 0")
    folders = _choose(path, options.cameras)
    if folders is None:
        lefts, rights = _by_side(path)
        pairs, unpaired = pair_by_name(lefts, rights, path, path)
        names = ["left"], ["right"]
    else:
        pairs, unpaired = _pair_folders(*folders)
        names = [folders[0].name, "left"], [folders[1].name, "right"]
    image = first_readable(pair.left for pair in pairs)
    left, right = (_calibration(path, of, image) for of in names)
    frames = []
    for index, pair in enumerate(pairs):
        stamp = SYNTHETIC_START_NS + round(index * 1e9 / options.rate_hz)
        name = pair.name or pair.left.stem
        number = int(name) if name.isdecimal() else None
        frames.append(StereoFrame.of_files(pair._replace(name=name), stamp, stamp, left, right, number=number))
    one, other = (
        Camera(f"/stereo/{name}/image_raw", f"stereo_{name}", info)
        for name, info in zip(("left", "right"), (left, right), strict=True)
    )
    distorted = (left.distorted if left else "") or (right.distorted if right else "")
    why = f"{distorted} in its calibration" if distorted else ""
    source = FileStereoSource("folder", path, one, other, frames, unpaired)
    return settle(source, left, right, why, options.rectify_images)


def _choose(path: Path, cameras: Cameras) -> tuple[Path, Path] | None:
    """The folders of the two cameras, None if both are in one."""
    if not path.is_dir():
        raise DatasetError(f"{path} is not a folder; name the one that holds left and right")
    found = _candidates(path)
    if len(found) > 1:  # KITTI's numbers
        colour = [pair for pair in found if pair.left and pair.left.name.endswith("2")]
        if len(found) == 2 and colour:
            grey = [pair for pair in found if pair not in colour]
            found = grey if cameras == "gray" else colour
    if len(found) > 1:
        names = ", ".join(f"{pair.left.name} + {pair.right.name}" for pair in found if pair.left and pair.right)
        raise DatasetError(
            f"{path} holds several pairs of folders ({names}); put the one that you mean into a folder of its own"
        )
    if not found:
        lefts, rights = _by_side(path)
        if lefts and rights:
            return None
        raise DatasetError(
            f"{path}: looked for the folders left and right (or image_left, cam0, infra1, l ... and their partners) "
            "with images in them, or for files like left_000.png and right_000.png, found none"
        )
    left, right = found[0]
    if left is None or right is None:
        gone = "right" if left else "left"
        raise DatasetError(f"{path}: looked for the folders left and right, {gone} is not there; copy it there")
    return left, right


def _pair_folders(left: Path, right: Path) -> tuple[list[ImagePair], Unpaired]:
    """By whole names; where no two are the same, by their rests without the side; else by their numbers: 1 and 001."""
    files = [image_files(_images_in(folder) or folder) for folder in (left, right)]
    whole = [by_name(of) for of in files]
    if whole[0].keys().isdisjoint(whole[1]):
        for name in (_rest, _number):
            with suppress(DatasetError):  # several files of a folder get the same name: then it is not that
                lefts, rights = (by_name(of, name) for of in files)
                if not lefts.keys().isdisjoint(rights):
                    return pair_by_name(lefts, rights, left, right)
    return pair_by_name(whole[0], whole[1], left, right)


def _rest(stem: str) -> str:
    return next((side.rest for side in sides_of(stem, file=True) if side.rank <= 2), stem)


def _number(stem: str) -> str:
    """All numbers in a name, without leading zeros."""
    return "_".join(str(int(digits)) for digits in re.findall(r"[0-9]+", _rest(stem))) or stem


def _calibration(path: Path, names: list[str], image: Path) -> CameraInfo | None:
    for name in dict.fromkeys(names):
        file = path / f"{name}.yaml"
        if file.exists():
            return read_ros_yaml(file).scaled(*image_size(image))
    return None


READER = Reader(
    "folder",
    "left/NAME.png and right/NAME.png (or .jpg, .webp; image_left, cam0, l ...), or left_NAME.png, right_NAME.png",
    find,
    open_folder,
)
