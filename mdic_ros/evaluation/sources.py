"""Stereo pairs to evaluate on, out of every kind of recording that the package reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mdic_ros.codec import View
from mdic_ros.datasets import READERS, DatasetError, StereoFrame, StereoSource, detect_layout, open_stereo
from mdic_ros.datasets.bag import is_bag
from mdic_ros.datasets.readers import cityscapes, kitti_stereo

Image = npt.NDArray[np.uint8]  #: H x W x 3 uint8 RGB

AGES = (1, 5, 10)  #: how many frames ago stale side images are


@dataclass(frozen=True)
class EvalPair:
    """A coded image and its side image.

    Attributes:
        drive: the place or the drive; pairs of different drives show different scenes. Unique in the data.
        frame: unique in the drive.
        coded: the image to code, H x W x 3 uint8 RGB.
        side: the side image, of the same size.
        view: the camera of the image to code; the side image is the other one's.
        stale: the side camera's earlier images, by how many frames earlier: those of :data:`AGES` that there are.
    """

    drive: str
    frame: str
    coded: Image
    side: Image
    view: View = "left"
    stale: dict[int, Image] = field(default_factory=dict)


def find_recordings(path: Path) -> list[Path]:
    """The recordings at or below a path, by name.

    A recording is a bag, a drive of KITTI raw, a sequence of KITTI odometry, a split of KITTI stereo or of Cityscapes
    (where there are several, only the testing split counts), or a folder with ``left`` and ``right``.

    Raises:
        DatasetError: there is none; the message says what was looked for.
    """
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    found = list(_recordings(path))
    if not found:
        open_stereo(path).close()  # says what is missing
        found = [path]
    return found


def default_protocol(path: Path) -> str:
    """The paper's protocol for the recordings at or below a path: "cityscapes" for all of that layout, else "kitti".

    Raises:
        DatasetError: there is no recording.
    """
    layouts = {detect_layout(recording) for recording in find_recordings(path)}
    return "cityscapes" if layouts == {"cityscapes"} else "kitti"


def read_pairs(path: Path, limit: int | None = None, both_orders: bool = False) -> Iterator[EvalPair]:
    """The pairs of the recordings at or below a path.

    Of KITTI stereo 2012 and 2015 only the frames ``_10``, which makes a folder above both testing splits the 395 scenes
    of the paper's list. Every scene there and every city of Cityscapes is a drive of its own.

    Args:
        path: a recording, or a folder with recordings at any depth.
        limit: most moments to take of each recording, of Cityscapes of each city, from its beginning.
        both_orders: every moment a second time, as "NAME-right", with the right image as the one to code and the left
            one as its side image: the paper's protocol for KITTI, 790 pairs.

    Raises:
        DatasetError: no recording, or one is incomplete or damaged.
        ImageError: an image is damaged, or two images of a pair differ in size.
    """
    for recording in find_recordings(path):
        inside = recording.relative_to(path).as_posix()
        name = recording.resolve().name if inside == "." else inside
        with open_stereo(recording) as source:
            yield from _pairs(source, name, limit, both_orders)


def _pairs(source: StereoSource, name: str, limit: int | None, both_orders: bool) -> Iterator[EvalPair]:
    earlier: dict[int, StereoFrame] = {}  # by their place in time, no older than is needed
    indices = range(len(source))
    if source.layout == "kitti_stereo":
        chosen = [index for index in indices if source[index].name.endswith("_10")]
    else:
        chosen = list(indices)
    if source.layout == "cityscapes":  # a drive of its own, and none is to be missed
        cities = groupby(chosen, lambda index: cityscapes.city_of(source[index].name))
        chosen = [index for _, city in cities for index in list(city)[:limit]]
    else:
        chosen = chosen[:limit]
    for index in chosen:
        frame = source[index]
        frame.check()
        place = _place(source, index, frame)
        stale = {age: earlier[place - age] for age in AGES if place is not None and place - age in earlier}
        drive = _drive(source, name, frame)
        older = {age: other.right for age, other in stale.items()}
        yield EvalPair(drive, frame.name, frame.left, frame.right, "left", older)
        if both_orders:
            older = {age: other.left for age, other in stale.items()}
            yield EvalPair(drive, f"{frame.name}-right", frame.right, frame.left, "right", older)
        if place is not None:
            earlier[place] = frame
            earlier = {p: f for p, f in earlier.items() if p > place - max(AGES)}


def _place(source: StereoSource, index: int, frame: StereoFrame) -> int | None:
    """The number of a frame where consecutive numbers are consecutive moments, else None.

    KITTI numbers the frames of a drive, and keeps the numbers when some are taken out. Folders are believed to do the
    same when their files are named by numbers. Bags and EuRoC sequences have every frame of the camera.
    """
    if source.layout in ("bag", "euroc"):
        return index
    if source.layout in ("kitti_raw", "kitti_odometry", "folder") and frame.name.isdecimal():
        return int(frame.name)
    return None


def _drive(source: StereoSource, name: str, frame: StereoFrame) -> str:
    if source.layout == "kitti_stereo":
        return f"{name}/{frame.name.partition('_')[0]}"
    if source.layout == "cityscapes":
        return cityscapes.city_of(frame.name)
    return name


def _recordings(path: Path) -> Iterator[Path]:
    if is_bag(path):
        yield path
    elif not path.is_dir():
        return
    elif splits := kitti_stereo.find(path) or cityscapes.find(path):
        tests = [split for split in splits if split.name in ("testing", "test")]
        yield from tests or splits
    elif any(path in reader.find(path) for reader in READERS):
        yield path
    else:
        for inside in sorted(path.iterdir()):
            if not inside.name.startswith("."):
                yield from _recordings(inside)
