"""Which topics of a bag are a stereo pair, and where their images are."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mdic_ros.datasets.bag import BagReader, Message, Topic
from mdic_ros.datasets.calibration import CameraInfo
from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.images import RGB, format_problem, from_compressed_message, from_image_message
from mdic_ros.datasets.messages import BITSTREAM, CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, peek_header
from mdic_ros.datasets.timing import pair_nearest
from mdic_ros.errors import ImageError
from mdic_ros.stamps import stamp_problem

log = logging.getLogger(__name__)

#: How the two cameras of a pair are told apart in topic names.
_SIDES = (("left", "right"), ("image_02", "image_03"), ("image_00", "image_01"), ("infra1", "infra2"), ("cam0", "cam1"))


def base_topic(topic: str) -> str:
    """The raw image topic of a transport topic: `.../image_raw/compressed` -> `.../image_raw`."""
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
    """Where an image is: the nth message of its topic that was recorded at `time_ns`."""

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

    @property
    def recorded(self) -> list[tuple[int, int]]:
        """(recording time in ns, index in `entries`) of the images, in the order in which they were recorded.

        Those of equal times get times 1 ns apart.
        """
        return sorted((entry.time_ns + entry.nth, index) for index, entry in enumerate(self.entries))

    def time_of(self, index: int, recorded: bool) -> int:
        """Time of an image by its place in `entries`, in ns: its stamp, or its place in `recorded`."""
        entry = self.entries[index]
        return entry.time_ns + entry.nth if recorded else entry.stamp_ns

    def load(self, index: int) -> RGB:
        """An image by its place in `entries`.

        Raises:
            ImageError: damaged, or of an encoding that is not supported.
        """
        entry = self.entries[index]
        name = f"{self.reader.path}, {self.topic} at {(entry.stamp_ns or entry.time_ns) / 1e9:.6f} s"
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
            _note_form(images, message)
        images.entries.append(Entry(stamp, message.time_ns, nth))
    for images in found.values():
        images.entries.sort()
        if images.broken:
            log.warning("%s, %s: %d damaged messages are left out", reader.path, images.topic, images.broken)
    return found


def _note_form(images: ImageTopic, message: Message) -> None:
    """What the first message of a topic says about all of them."""
    try:
        first = images.reader.decode(message)
    except DatasetError:
        return  # it is damaged, which loading it will say
    if message.msgtype == IMAGE:
        images.encoding = str(first.encoding)
    elif message.msgtype == COMPRESSED_IMAGE and (problem := format_problem(str(first.format))):
        log.warning("%s, %s: %s", images.reader.path, images.topic, problem)


class Pairing(NamedTuple):
    """Which images of two topics belong together.

    Attributes:
        pairs: indices into the entries of both topics, in order of time.
        problem: why the stamps cannot tell, so that the images were paired by the times at which they were recorded;
            empty when they were paired by stamps.
    """

    pairs: list[tuple[int, int]]
    problem: str


def pair_topics(left: ImageTopic, right: ImageTopic, slop_s: float) -> Pairing:
    """Pairs the images of two topics by nearest stamp, or by recording time where stamps cannot tell images apart."""
    slop = round(slop_s * 1e9)
    problems = ((images.topic, stamp_problem(images.stamps)) for images in (left, right))
    problem = "; ".join(f"the stamps in {topic} are {text}" for topic, text in problems if text)
    by_stamp = [] if problem else pair_nearest(left.stamps, right.stamps, slop)
    if not problem and 2 * len(by_stamp) >= min(len(left.entries), len(right.entries)):
        return Pairing(by_stamp, "")
    lefts, rights = left.recorded, right.recorded
    pairs = pair_nearest([time for time, _ in lefts], [time for time, _ in rights], slop)
    by_time = [(lefts[i][1], rights[j][1]) for i, j in pairs]
    if not problem and len(by_time) > 2 * len(by_stamp):
        problem = f"the stamps of the cameras differ: only {len(by_stamp)} pairs are within {slop_s:g} s"
    return Pairing(by_time, problem) if problem else Pairing(by_stamp, "")


def first_camera_info(reader: BagReader, image_topic: str) -> Any | None:
    """The first `sensor_msgs/CameraInfo` beside an image topic, None if there is none.

    A damaged one costs the calibration, not the images: None as well, with a warning.
    """
    topic = info_topic(image_topic)
    if topic in reader.topics and reader.topics[topic].msgtype == CAMERA_INFO:
        for message in reader.messages([topic]):
            try:
                return reader.decode(message)
            except DatasetError as error:
                log.warning("%s: the calibration in %s is not used: %s", reader.path, topic, error)
                return None
    return None


def first_calibration(reader: BagReader, image_topic: str) -> CameraInfo | None:
    """The calibration in `first_camera_info`, None if there is none or it is empty."""
    message = first_camera_info(reader, image_topic)
    return CameraInfo.from_message(message) if message is not None else None


def unrectified(image_topic: str, info: CameraInfo | None) -> str:
    """Why the images of a topic are not rectified; empty if they are, or if nothing is known.

    camera_info is the same beside image_raw and image_rect, so the name of the topic decides first.
    """
    if info is None or "rect" in base_topic(image_topic).rpartition("/")[2] or not info.distorted:
        return ""
    return f"{info.distorted} in the camera_info of {image_topic}"
