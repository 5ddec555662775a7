"""The two image topics of a bag as a stereo recording."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import NamedTuple

from .bag import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    BagReader,
    Message,
    Topic,
    pair_nearest,
    peek_header,
)
from .calibration import CameraInfo
from .errors import DatasetError, ImageError
from .images import RGB, from_compressed_message, from_image_message
from .stereo import Camera, StereoFrame, StereoSource

log = logging.getLogger(__name__)

DEFAULT_SLOP_S = 0.03

#: How the two cameras of a pair are told apart in topic names.
_SIDES = (("left", "right"), ("image_02", "image_03"), ("image_00", "image_01"), ("infra1", "infra2"))


def base_topic(topic: str) -> str:
    """The raw image topic of a transport topic: ``.../image_raw/compressed`` -> ``.../image_raw``."""
    return topic.removesuffix("/compressed")


def info_topic(topic: str) -> str:
    """The camera_info topic beside an image topic."""
    return base_topic(topic).rpartition("/")[0] + "/camera_info"


def image_topics(topics: dict[str, Topic]) -> list[str]:
    """The topics with images in them."""
    return [name for name, t in topics.items() if t.msgtype in (IMAGE, COMPRESSED_IMAGE) and t.count]


def stereo_topics(
    topics: dict[str, Topic], left: str | None = None, right: str | None = None
) -> tuple[str, str]:
    """The image topics of the left and the right camera.

    Found by their names (left and right, or KITTI's numbers). Colour goes before grey, raw before compressed.

    Args:
        topics: what is in the bag.
        left, right: topics that the caller knows already.

    Raises:
        DatasetError: none, or more than one pair remains; a topic that was given is not there.
    """
    images = image_topics(topics)
    for given in (left, right):
        if given and given not in images:
            raise DatasetError(
                f"no images in topic {given}; topics with images: {', '.join(images) or 'none'}"
            )
    pairs = {
        (name, name.replace(one, other))
        for name in images
        for one, other in _SIDES
        if one in name and name.replace(one, other) in images
    }
    if left and right:
        pairs = {(left, right)}
    elif left or right:
        pairs = {pair for pair in pairs if left in (None, pair[0]) and right in (None, pair[1])}

    def rank(pair: tuple[str, str]) -> tuple[bool, bool]:
        return bool(re.search(r"gr[ae]y|mono|image_0[01]\b", pair[0])), pair[0].endswith("/compressed")

    best = min(map(rank, pairs), default=None)
    pairs = {pair for pair in pairs if rank(pair) == best}
    if len(pairs) == 1:
        return pairs.pop()
    if not pairs:
        raise DatasetError(
            "no stereo pair among the image topics by their names (left, right); name both with --left-topic "
            f"and --right-topic; topics with images: {', '.join(images) or 'none'}"
        )
    raise DatasetError(
        "several stereo pairs, name one with --left-topic: "
        + ", ".join(f"{a} + {b}" for a, b in sorted(pairs))
    )


def decode_image(reader: BagReader, message: Message, name: str) -> tuple[RGB, str]:
    """An image message of either kind as (RGB image, its encoding; rgb8 for a compressed one).

    Raises:
        ImageError: damaged or of an encoding that is not supported.
    """
    try:
        decoded = reader.decode(message)
    except DatasetError as error:
        raise ImageError(f"{name}: {error}") from error
    if message.msgtype == IMAGE:
        return from_image_message(decoded, name), str(decoded.encoding)
    return from_compressed_message(decoded, name), "rgb8"


def _encoding(reader: BagReader, message: Message) -> str:
    """What to write this camera's raw images as: mono8 for grey ones, else KITTI's and OpenCV's bgr8, or rgb8."""
    if message.msgtype != IMAGE:
        return "rgb8"
    encoding = str(reader.decode(message).encoding)
    if encoding in ("mono8", "8UC1"):
        return "mono8"
    return "bgr8" if encoding.startswith("bgr") else "rgb8"


class _Entry(NamedTuple):
    """Where an image is: the nth message of its topic that was recorded at ``time_ns``."""

    stamp_ns: int
    time_ns: int
    nth: int


class BagStereoSource(StereoSource):
    """Two image topics of a bag, paired by nearest stamp.

    Attributes:
        unpaired_left, unpaired_right: how many images have no partner within the slop and are left out.
    """

    def __init__(self, reader: BagReader, left: str, right: str, slop_s: float = DEFAULT_SLOP_S) -> None:
        self._reader = reader
        self._topics = left, right
        entries: dict[str, list[_Entry]] = {left: [], right: []}
        frame_ids: dict[str, str] = {}
        encodings: dict[str, str] = {}
        infos: dict[str, CameraInfo | None] = {}
        seen: dict[tuple[str, int], int] = {}
        info_names = {info_topic(topic): topic for topic in (left, right)}
        broken = 0
        for message in reader.messages([left, right, *info_names]):
            if message.topic in entries:
                nth = seen[message.topic, message.time_ns] = (
                    seen.get((message.topic, message.time_ns), -1) + 1
                )
                try:
                    stamp, frame_id = peek_header(message.data)
                except DatasetError:
                    broken += 1
                    continue
                if message.topic not in frame_ids:
                    frame_ids[message.topic] = frame_id
                    encodings[message.topic] = _encoding(reader, message)
                entries[message.topic].append(_Entry(stamp, message.time_ns, nth))
            elif message.msgtype == CAMERA_INFO and info_names[message.topic] not in infos:
                infos[info_names[message.topic]] = CameraInfo.from_message(reader.decode(message))
        if broken:
            log.warning("%s: %d image messages without a readable header are left out", reader.path, broken)
        lefts, rights = sorted(entries[left]), sorted(entries[right])
        pairs = pair_nearest([e.stamp_ns for e in lefts], [e.stamp_ns for e in rights], round(slop_s * 1e9))
        self._pairs = [(lefts[i], rights[j]) for i, j in pairs]
        self.unpaired_left, self.unpaired_right = len(lefts) - len(pairs), len(rights) - len(pairs)
        if not self._pairs:
            raise DatasetError(
                f"{reader.path}: none of {len(lefts)} images of {left} has one of {len(rights)} of {right} "
                f"within {slop_s:g} s; are these two cameras of one rig, with one clock?"
            )
        one, other = (Camera(base_topic(t), frame_ids[t], infos.get(t), encodings[t]) for t in (left, right))
        super().__init__("bag", reader.path, one, other)

    def __len__(self) -> int:
        return len(self._pairs)

    def _frame(self, index: int) -> StereoFrame:
        left, right = self._pairs[index]
        return StereoFrame(
            f"{index:06}",
            left.stamp_ns,
            right.stamp_ns,
            lambda: self._load(self._topics[0], left),
            lambda: self._load(self._topics[1], right),
            self.left_info,
            self.right_info,
        )

    def _load(self, topic: str, entry: _Entry) -> RGB:
        found = self._reader.messages([topic], entry.time_ns, entry.time_ns + 1)
        for nth, message in enumerate(found):
            if nth == entry.nth:
                name = f"{self.path}, {topic} at {entry.stamp_ns / 1e9:.6f} s"
                return decode_image(self._reader, message, name)[0]
        raise ImageError(f"{self.path}: the image of {topic} at {entry.stamp_ns / 1e9:.6f} s is gone")

    def close(self) -> None:
        self._reader.close()


def open_bag(
    path: Path, left_topic: str | None = None, right_topic: str | None = None, slop_s: float = DEFAULT_SLOP_S
) -> BagStereoSource:
    """A stereo recording in a bag. Reads the bag once, for the stamps; images are read when they are wanted.

    Args:
        path: rosbag2 folder, .mcap or .db3.
        left_topic, right_topic: image topics; found by their names when left out.
        slop_s: largest difference of the stamps of a pair in seconds.

    Raises:
        DatasetError: not a bag, damaged, no pair of topics or several.
    """
    reader = BagReader(path)
    try:
        left, right = stereo_topics(reader.topics, left_topic, right_topic)
        return BagStereoSource(reader, left, right, slop_s)
    except DatasetError as error:
        reader.close()
        raise error if str(path) in str(error) else DatasetError(f"{path}: {error}") from error
    except BaseException:
        reader.close()
        raise
