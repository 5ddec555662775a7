"""Stereo pairs to evaluate on, out of every kind of recording that the package reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mdic_ros.codec import View
from mdic_ros.datasets import StereoFrame, StereoSource, detect_layout, find_recordings, open_stereo
from mdic_ros.evaluation.protocol import is_kitti

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


def default_protocol(path: Path) -> str:
    """The paper's protocol for the recordings at or below a path if it has one for such data, else "whole".

    The paper has "cityscapes" for Cityscapes, and "kitti" for images of KITTI's size, whatever their layout is.

    Raises:
        DatasetError: there is no recording, or one is incomplete or damaged.
        ImageError: the first image of one is damaged.
    """
    recordings = find_recordings(path, "test")
    if {detect_layout(recording) for recording in recordings} == {"cityscapes"}:
        return "cityscapes"
    for recording in recordings:
        with open_stereo(recording) as source:
            height, width = source[0].left.shape[:2]
        if not is_kitti(height, width):
            return "whole"
    return "kitti"


def share_of_each(path: Path, most: int) -> int:
    """How many moments of each recording at or below a path make `most` together, rounded up.

    Raises:
        DatasetError: there is no recording.
    """
    return math.ceil(most / len(find_recordings(path, "test")))


def read_pairs(path: Path, limit: int | None = None, both_orders: bool = False) -> Iterator[EvalPair]:
    """The pairs of the recordings at or below a path.

    Only reference frames count: of KITTI stereo 2012 and 2015 those named ``_10``, so a folder above both testing
    splits has the 395 scenes of the paper's list. Every scene there and every city of Cityscapes is a drive of its own.

    Args:
        path: a recording, or a folder with recordings at any depth.
        limit: most moments to take of each scene of a recording, from its beginning; where each scene is one moment,
            most scenes of a recording.
        both_orders: every moment a second time, as "NAME-right", with the right image as the one to code and the left
            one as its side image: the paper's protocol for KITTI, 790 pairs.

    Raises:
        DatasetError: no recording, or one is incomplete or damaged.
        ImageError: an image is damaged, or two images of a pair differ in size.
    """
    for recording in find_recordings(path, "test"):
        inside = recording.relative_to(path).as_posix()
        name = recording.resolve().name if inside == "." else inside
        with open_stereo(recording) as source:
            yield from _pairs(source, name, limit, both_orders)


def _pairs(source: StereoSource, name: str, limit: int | None, both_orders: bool) -> Iterator[EvalPair]:
    earlier: dict[int, StereoFrame] = {}  # by their numbers, no older than is needed
    for index in _chosen(source, limit):
        frame = source[index]
        frame.check()
        number = frame.number
        stale = {age: earlier[number - age] for age in AGES if number is not None and number - age in earlier}
        drive = f"{name}/{frame.scene}" if frame.scene else name
        older = {age: other.right for age, other in stale.items()}
        yield EvalPair(drive, frame.name, frame.left, frame.right, "left", older)
        if both_orders:
            older = {age: other.left for age, other in stale.items()}
            yield EvalPair(drive, f"{frame.name}-right", frame.right, frame.left, "right", older)
        if number is not None:
            earlier[number] = frame
            earlier = {n: f for n, f in earlier.items() if n > number - max(AGES)}


def _chosen(source: StereoSource, limit: int | None) -> list[int]:
    """Indices of the frames to measure, in their order."""
    indices = (index for index in range(len(source)) if source[index].reference)
    scenes = [list(scene) for _, scene in groupby(indices, lambda index: source[index].scene)]
    if all(len(scene) == 1 for scene in scenes):
        scenes = scenes[:limit]
    return [index for scene in scenes for index in scene[:limit]]
