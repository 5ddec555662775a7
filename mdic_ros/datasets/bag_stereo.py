"""The two image topics of a bag as a stereo recording."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .bag import (
    BITSTREAM,
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


def _partners(name: str, sides: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What the other camera may be called: one word exchanged, the last first (of /left_arm/left), then all of them."""
    for one, other in sides:
        places = [match.start() for match in re.finditer(re.escape(one), name)]
        for place in reversed(places):
            yield name[:place] + other + name[place + len(one) :]
        if len(places) > 1:
            yield name.replace(one, other)


def stereo_topics(topics: dict[str, Topic], left: str | None = None, right: str | None = None) -> tuple[str, str]:
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
            raise DatasetError(f"no images in topic {given}; topics with images: {', '.join(images) or 'none'}")
    pairs = {
        (name, partner)
        for name in images
        for partner in [next((p for p in _partners(name, _SIDES) if p in images), None)]
        if partner is not None
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
        "several stereo pairs, name one with --left-topic: " + ", ".join(f"{a} + {b}" for a, b in sorted(pairs))
    )


def bitstream_topic(reader: BagReader, topic: str | None = None) -> str:
    """The Bitstream topic of a bag.

    Raises:
        DatasetError: none, or several and none is named.
    """
    found = [name for name, t in reader.topics.items() if t.msgtype == BITSTREAM and t.count]
    if topic is not None:
        found = [name for name in found if name == topic]
    if len(found) == 1:
        return found[0]
    if not found:
        asked = f"no packets in topic {topic}" if topic else "no packets (mdic_ros/msg/Bitstream) in it"
        raise DatasetError(f"{reader.path}: {asked}; 'mdic encode' makes such a bag")
    raise DatasetError(f"{reader.path}: several streams, name one with --topic: {', '.join(found)}")


def side_topic(reader: BagReader, bitstream: str) -> str | None:
    """The image topic that goes with a bitstream topic: the other camera's by name, else the only one."""
    namespace = bitstream.rpartition("/")[0]
    # the coded camera's own images, should they be in the bag as well, are beside its bitstream
    images = [t for t in image_topics(reader.topics) if base_topic(t).rpartition("/")[0] != namespace]
    for partner in _partners(namespace, (*_SIDES, *(names[::-1] for names in _SIDES))):
        beside = [t for t in images if base_topic(t).rpartition("/")[0] == partner]
        if beside:
            return min(beside, key=lambda t: t.endswith("/compressed"))
    images = images or image_topics(reader.topics)  # both cameras in one namespace
    return images[0] if len(images) == 1 else None


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


class Entry(NamedTuple):
    """Where an image is: the nth message of its topic that was recorded at ``time_ns``."""

    stamp_ns: int
    time_ns: int
    nth: int


@dataclass
class ImageTopic:
    """An image topic of a bag with random access: only the headers have been read.

    Attributes:
        entries: the images in order of their stamps.
        frame_id, encoding: of the first image; encoding is rgb8 for compressed ones.
        broken: how many messages have no readable header and are left out.
    """

    reader: BagReader
    topic: str
    entries: list[Entry] = field(default_factory=list)
    frame_id: str = ""
    encoding: str = "rgb8"
    broken: int = 0

    @property
    def stamps(self) -> list[int]:
        """Stamps in ns, ascending."""
        return [entry.stamp_ns for entry in self.entries]

    def load(self, index: int) -> RGB:
        """An image by its place in ``entries``.

        Raises:
            ImageError: damaged, or of an encoding that is not supported.
        """
        entry = self.entries[index]
        name = f"{self.reader.path}, {self.topic} at {entry.stamp_ns / 1e9:.6f} s"
        try:
            found = self.reader.messages([self.topic], entry.time_ns, entry.time_ns + 1)
            message = next(itertools.islice(found, entry.nth, None))
        except (DatasetError, StopIteration) as error:
            raise ImageError(f"{name}: {error or 'it is gone'}") from error
        return decode_image(self.reader, message, name)[0]


def index_images(reader: BagReader, topics: Iterable[str]) -> dict[str, ImageTopic]:
    """Reads through the bag once and notes where the images of these topics are."""
    found = {topic: ImageTopic(reader, topic) for topic in topics}
    last: dict[str, tuple[int, int]] = {}
    for message in reader.messages(list(found)):
        images = found[message.topic]
        time_ns, nth = last.get(message.topic, (-1, 0))
        nth = nth + 1 if time_ns == message.time_ns else 0
        last[message.topic] = message.time_ns, nth
        try:
            stamp, frame_id = peek_header(message.data)
        except DatasetError:
            images.broken += 1
            continue
        if not images.entries:
            images.frame_id = frame_id
            if message.msgtype == IMAGE:
                images.encoding = str(reader.decode(message).encoding)
        images.entries.append(Entry(stamp, message.time_ns, nth))
    for images in found.values():
        images.entries.sort()
        if images.broken:
            log.warning("%s, %s: %d damaged messages are left out", reader.path, images.topic, images.broken)
    return found


def first_camera_info(reader: BagReader, image_topic: str) -> Any | None:
    """The first ``sensor_msgs/CameraInfo`` beside an image topic, None if there is none."""
    topic = info_topic(image_topic)
    if topic in reader.topics and reader.topics[topic].msgtype == CAMERA_INFO:
        for message in reader.messages([topic]):
            return reader.decode(message)
    return None


def _raw_encoding(encoding: str) -> str:
    """What to write images of this encoding as, when they are written as raw images again."""
    if encoding in ("mono8", "8UC1"):
        return "mono8"
    return "bgr8" if encoding.startswith("bgr") else "rgb8"


class BagStereoSource(StereoSource):
    """Two image topics of a bag, paired by nearest stamp.

    Attributes:
        unpaired_left, unpaired_right: how many images have no partner within the slop and are left out.
    """

    def __init__(self, reader: BagReader, left: str, right: str, slop_s: float = DEFAULT_SLOP_S) -> None:
        self._reader = reader
        images = index_images(reader, (left, right))
        self._left, self._right = images[left], images[right]
        lefts, rights = self._left.stamps, self._right.stamps
        self._pairs = pair_nearest(lefts, rights, round(slop_s * 1e9))
        self.unpaired_left, self.unpaired_right = (
            len(lefts) - len(self._pairs),
            len(rights) - len(self._pairs),
        )
        if not self._pairs:
            raise DatasetError(
                f"{reader.path}: none of {len(lefts)} images of {left} has one of {len(rights)} of {right} "
                f"within {slop_s:g} s; are these two cameras of one rig, with one clock?"
            )
        cameras = []
        for topic in (self._left, self._right):
            message = first_camera_info(reader, topic.topic)
            info = CameraInfo.from_message(message) if message is not None else None
            cameras.append(Camera(base_topic(topic.topic), topic.frame_id, info, _raw_encoding(topic.encoding)))
        super().__init__("bag", reader.path, cameras[0], cameras[1])

    def __len__(self) -> int:
        return len(self._pairs)

    def _frame(self, index: int) -> StereoFrame:
        left, right = self._pairs[index]
        return StereoFrame(
            f"{index:06}",
            self._left.entries[left].stamp_ns,
            self._right.entries[right].stamp_ns,
            lambda: self._left.load(left),
            lambda: self._right.load(right),
            self.left_info,
            self.right_info,
        )

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
