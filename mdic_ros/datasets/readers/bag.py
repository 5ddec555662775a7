"""Bags: two image topics, paired by their stamps."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from pathlib import Path

from mdic_ros.datasets.bag import BagReader, is_bag
from mdic_ros.datasets.bag_stereo import (
    ImageTopic,
    base_topic,
    first_calibration,
    index_images,
    pair_topics,
    stereo_topics,
    unrectified,
)
from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.files import Unpaired
from mdic_ros.datasets.images import RGB
from mdic_ros.datasets.reader import OpenOptions, Reader
from mdic_ros.datasets.rectify import settle
from mdic_ros.datasets.stereo import Camera, StereoFrame, StereoSource
from mdic_ros.datasets.timing import DEFAULT_SLOP_S

log = logging.getLogger(__name__)


class BagStereoSource(StereoSource):
    """Two image topics of a bag. Images are paired by nearest stamp.

    Where stamps cannot tell images apart (all 0, frozen, two clocks), images are paired by the times at which they were
    recorded, and have these as stamps; a warning says so.

    Args:
        reader: the bag; closed with this source.
        left, right: image topics.
        slop_s: largest difference of the times of a pair in seconds.

    Raises:
        DatasetError: no two images belong together.
    """

    def __init__(self, reader: BagReader, left: str, right: str, slop_s: float = DEFAULT_SLOP_S) -> None:
        self._reader = reader
        self._lock = threading.Lock()  # a bag is read by one thread at a time
        images = index_images(reader, (left, right))
        self._left, self._right = images[left], images[right]
        self._pairs, problem = pair_topics(self._left, self._right, slop_s)
        self._recorded = bool(problem)
        counts = len(self._left.entries), len(self._right.entries)
        if not self._pairs:
            raise DatasetError(
                f"{reader.path}: none of {counts[0]} images of {left} has one of {counts[1]} of {right} "
                f"within {slop_s:g} s{f', by recording time, as {problem}' if problem else ''}; are these two cameras "
                "of one rig, with one clock? --side-slop allows more"
            )
        if problem:
            log.warning(
                "%s: %s; images are paired and stamped by the times at which they were recorded", reader.path, problem
            )
        unpaired = Unpaired(*(count - len(self._pairs) for count in counts))
        if unpaired.total:
            log.warning(
                "%s: %d images of %s and %d of %s have no partner within %g s and are left out",
                reader.path, unpaired.left, left, unpaired.right, right, slop_s,
            )  # fmt: skip
        cameras = []
        for topic in (self._left, self._right):
            info = first_calibration(reader, topic.topic)
            cameras.append(Camera(base_topic(topic.topic), topic.frame_id, info, _raw_encoding(topic.encoding)))
        super().__init__("bag", reader.path, cameras[0], cameras[1], unpaired)

    def __len__(self) -> int:
        return len(self._pairs)

    def _frame(self, index: int) -> StereoFrame:
        left, right = self._pairs[index]
        return StereoFrame(
            f"{index:06}",
            self._left.time_of(left, self._recorded),
            self._right.time_of(right, self._recorded),
            lambda: self._load(self._left, left),
            lambda: self._load(self._right, right),
            self.left_info,
            self.right_info,
            number=index,
        )

    def _load(self, topic: ImageTopic, index: int) -> RGB:
        with self._lock:
            return topic.load(index)

    def close(self) -> None:
        self._reader.close()


def _raw_encoding(encoding: str) -> str:
    """What to write images of this encoding as, when they are written as raw images again."""
    if encoding in ("mono8", "8UC1"):
        return "mono8"
    return "bgr8" if encoding.startswith("bgr") or encoding == "8UC3" else "rgb8"


def find(path: Path) -> list[Path]:
    """The path itself, if it is a bag."""
    return [path] if is_bag(path) else []


def open_bag(path: Path, options: OpenOptions) -> StereoSource:
    """A stereo recording in a bag. Reads the bag once, for the stamps; images are read when they are wanted.

    Raises:
        DatasetError: not a bag, damaged, no pair of topics or several, or unrectified and nothing said about it.
    """
    with ExitStack() as stack:
        reader = stack.enter_context(BagReader(path))
        try:
            left, right = stereo_topics(reader.topics, options.left_topic, options.right_topic)
        except DatasetError as error:
            raise DatasetError(f"{path}: {error}") from error
        source = BagStereoSource(reader, left, right, options.slop_s)
        why = unrectified(left, source.left_info) or unrectified(right, source.right_info)
        result = settle(source, source.left_info, source.right_info, why, options.rectify_images)
        stack.pop_all()
        return result


READER = Reader("bag", "a folder with metadata.yaml, or an .mcap or .db3 file", find, open_bag)
