"""What a reader of recordings is. Each kind of recording has one, in a file of its own in `readers/`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mdic_ros.datasets.layout import Layout
from mdic_ros.datasets.stereo import StereoSource
from mdic_ros.datasets.timing import DEFAULT_SLOP_S

Cameras = Literal["auto", "color", "gray"]


@dataclass(frozen=True)
class OpenOptions:
    """How to open a recording. Each reader heeds those that mean something to it.

    Attributes:
        cameras: KITTI: the colour or the grey pair; auto takes colour where there is colour.
        left_topic, right_topic: bags: image topics; found by their names when left out.
        slop_s: bags, EuRoC: largest difference of the stamps of a pair in seconds.
        rate_hz: folders: frame rate of the stamps, which are made up.
        rectify_images: what to do with images that are not rectified by their calibration. None: refuse them.
            True: rectify them. False: take them as they are.
    """

    cameras: Cameras = "auto"
    left_topic: str | None = None
    right_topic: str | None = None
    slop_s: float = DEFAULT_SLOP_S
    rate_hz: float = 10.0
    rectify_images: bool | None = None


@dataclass(frozen=True)
class Reader:
    """One kind of recording.

    Attributes:
        name: for `--layout` and `StereoSource.layout`; `layout.LAYOUTS` lists it.
        description: one line, what files it looks for.
        find: the recordings of this kind at a path, or a little below it; a path that does not exist has none.
        open: opens the only one of them. Raises DatasetError or ImageError, and leaves nothing open then.
        splits: whether these are the splits of a benchmark, one of which is for testing.
    """

    name: Layout
    description: str
    find: Callable[[Path], list[Path]]
    open: Callable[[Path, OpenOptions], StereoSource]
    splits: bool = False

    def matches(self, path: Path) -> bool:
        """Whether there is a recording of this kind."""
        return bool(self.find(path))
