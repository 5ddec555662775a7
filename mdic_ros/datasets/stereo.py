"""What every reader of this package gives: a sequence of stereo frames with stamps, names and calibration."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self, overload

from mdic_ros.datasets.calibration import CameraInfo
from mdic_ros.datasets.files import ALL_PAIRED, ImagePair, Unpaired
from mdic_ros.datasets.images import RGB, read_image
from mdic_ros.errors import ImageError

#: First stamp of recordings that have none: 2001-09-09 01:46:40 UTC, plainly made up, and not 0, ROS's "no time".
SYNTHETIC_START_NS = 1_000_000_000_000_000_000


@dataclass(frozen=True)
class Camera:
    """One of the two cameras.

    Attributes:
        topic: name of its raw image topic; camera_info is its sibling.
        frame_id: its optical frame.
        info: calibration of the first frame, None when unknown. (KITTI stereo 2012/2015 change it from scene
            to scene: the frame's own `left_info` / `right_info` are always the right ones.)
        encoding: what a `sensor_msgs/Image` of it has as encoding: `bgr8`, `rgb8`, `mono8`.
    """

    topic: str
    frame_id: str
    info: CameraInfo | None = None
    encoding: str = "rgb8"

    @property
    def namespace(self) -> str:
        """The topic without its last part, where camera_info and what we derive from the image live."""
        return self.topic.removesuffix("/compressed").rpartition("/")[0]


@dataclass(frozen=True)
class StereoFrame:
    """Two images of one instant. They are decoded on first access and kept as long as the frame is.

    Attributes:
        name: for people, logs and file names, unique in its source, e.g. `0000000005`.
        stamp_ns, right_stamp_ns: times of acquisition of the two images, nanoseconds since 1970 UTC.
        left_info, right_info: calibrations, None when unknown.
        left_path, right_path: the image files, where there are files.
        number: its place in time where consecutive numbers are consecutive moments, else None. Numbers may be missing.
        scene: the place that it shows, where a recording has several (a city, a scene of a benchmark), else "".
        reference: false for a frame that a benchmark has only to go with another one of the same scene.
    """

    name: str
    stamp_ns: int
    right_stamp_ns: int
    load_left: Callable[[], RGB] = field(repr=False)
    load_right: Callable[[], RGB] = field(repr=False)
    left_info: CameraInfo | None = field(default=None, repr=False)
    right_info: CameraInfo | None = field(default=None, repr=False)
    left_path: Path | None = None
    right_path: Path | None = None
    number: int | None = None
    scene: str = ""
    reference: bool = True

    @cached_property
    def left(self) -> RGB:
        """H x W x 3 uint8 RGB. Raises ImageError, which names the file, when it is damaged."""
        return self.load_left()

    @cached_property
    def right(self) -> RGB:
        """H x W x 3 uint8 RGB. Raises ImageError, which names the file, when it is damaged."""
        return self.load_right()

    def check(self) -> None:
        """Decode both images.

        Raises:
            ImageError: one is damaged, or their sizes differ, which those of a rectified pair never do.
        """
        if self.left.shape != self.right.shape:
            sizes = " and ".join(f"{image.shape[0]}x{image.shape[1]}" for image in (self.left, self.right))
            files = f" ({self.left_path}, {self.right_path})" if self.left_path else ""
            raise ImageError(f"left and right have different sizes, {sizes}{files}; rectify them to one size")

    @classmethod
    def of_files(
        cls,
        pair: ImagePair,
        stamp_ns: int,
        right_stamp_ns: int,
        left_info: CameraInfo | None = None,
        right_info: CameraInfo | None = None,
        *,
        number: int | None = None,
        scene: str = "",
        reference: bool = True,
    ) -> StereoFrame:
        """A frame of two image files."""
        name, left, right = pair
        return cls(
            name,
            stamp_ns,
            right_stamp_ns,
            lambda: read_image(left),
            lambda: read_image(right),
            left_info,
            right_info,
            left,
            right,
            number,
            scene,
            reference,
        )


class StereoSource(Sequence[StereoFrame]):
    """A recording: `len(source)`, `source[5]`, `for frame in source`; `open_stereo` makes one.

    Frames are made anew at each access, so nothing is kept in memory. Use it as a context manager, or call
    `close`, to close its files. Images of its frames may be loaded in several threads at a time.

    Attributes:
        layout: which reader it is, one of `LAYOUTS`.
        path: what was opened.
        left, right: the two cameras.
        unpaired: how many images of each camera have no partner; they are in no frame.
    """

    def __init__(self, layout: str, path: Path, left: Camera, right: Camera, unpaired: Unpaired = ALL_PAIRED) -> None:
        self.layout = layout
        self.path = path
        self.left = left
        self.right = right
        self.unpaired = unpaired

    @property
    def left_info(self) -> CameraInfo | None:
        """Calibration of the left camera, None when unknown."""
        return self.left.info

    @property
    def right_info(self) -> CameraInfo | None:
        """Calibration of the right camera, None when unknown."""
        return self.right.info

    @abstractmethod
    def _frame(self, index: int) -> StereoFrame:
        """The frame at 0 <= index < len(self)."""

    @overload
    def __getitem__(self, index: int) -> StereoFrame: ...
    @overload
    def __getitem__(self, index: slice) -> list[StereoFrame]: ...
    def __getitem__(self, index: int | slice) -> StereoFrame | list[StereoFrame]:
        if isinstance(index, slice):
            return [self._frame(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)} in {self.path}")
        return self._frame(index % len(self))

    def __iter__(self) -> Iterator[StereoFrame]:
        return (self._frame(i) for i in range(len(self)))

    def close(self) -> None:
        """Close what is open; frames that were not loaded yet cannot be loaded any more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FileStereoSource(StereoSource):
    """A recording that is a list of image files."""

    def __init__(
        self,
        layout: str,
        path: Path,
        left: Camera,
        right: Camera,
        frames: Sequence[StereoFrame],
        unpaired: Unpaired = ALL_PAIRED,
    ) -> None:
        super().__init__(layout, path, left, right, unpaired)
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def _frame(self, index: int) -> StereoFrame:
        return replace(self._frames[index])  # a copy: images that the caller loads die with it
