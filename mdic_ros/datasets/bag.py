"""rosbag2 files (mcap, sqlite3) read and written without ROS, our own messages included.

Built on the pure-Python library ``rosbags``. Bags are written in metadata version 8, the newest that Humble,
Jazzy and Kilted all read (from version 9 on, QoS profiles are no longer a string, on which Humble stops).
"""

from __future__ import annotations

import bisect
import contextlib
import math
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from rosbags.interfaces import (
    Connection,
    MessageDefinitionFormat,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from ..resources import resource
from .calibration import CameraInfo
from .errors import DatasetError
from .images import RGB, to_encoding

Storage = Literal["mcap", "sqlite3"]

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
BITSTREAM = "mdic_ros/msg/Bitstream"
STREAM_INFO = "mdic_ros/msg/StreamInfo"
DECODE_REPORT = "mdic_ros/msg/DecodeReport"

_OURS = ("Bitstream", "StreamInfo", "DecodeReport")
_FOREVER = QosTime(9223372036, 854775807)
_LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    _FOREVER,
    _FOREVER,
    QosLiveliness.AUTOMATIC,
    _FOREVER,
    False,
)


# --- message types ------------------------------------------------------------------------------------------


def new_typestore() -> Typestore:
    """The message types of ROS 2 Jazzy and our own, in a store that the caller may add types to."""
    store = get_typestore(Stores.ROS2_JAZZY)
    folder = resource("msg")
    for name in _OURS:
        store.register(get_types_from_msg((folder / f"{name}.msg").read_text("utf8"), f"mdic_ros/msg/{name}"))
    return store


@cache
def typestore() -> Typestore:
    """A shared :func:`new_typestore`; treat it as read-only."""
    return new_typestore()


def make(msgtype: str, /, **fields: Any) -> Any:
    """A message of a type of :func:`typestore`: ``make(BITSTREAM, header=..., sequence=0, data=...)``."""
    return typestore().types[msgtype](**fields)


def make_header(stamp_ns: int, frame_id: str) -> Any:
    """``std_msgs/Header``."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def make_image(header: Any, image: RGB, encoding: str = "rgb8") -> Any:
    """``sensor_msgs/Image`` of an RGB image, or of an H x W mask with encoding mono8."""
    pixels = image if image.ndim == 2 else to_encoding(image, encoding)  # type: ignore[arg-type]
    height, width = pixels.shape[:2]
    flat = np.ascontiguousarray(pixels).reshape(-1)
    return make(
        IMAGE,
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=flat.size // height,
        data=flat,
    )


def make_compressed_image(header: Any, form: str, data: bytes) -> Any:
    """``sensor_msgs/CompressedImage`` of the bytes of an image file; ``form`` is ``jpeg`` or ``png``."""
    return make(COMPRESSED_IMAGE, header=header, format=form, data=np.frombuffer(data, np.uint8))


def make_camera_info(header: Any, info: CameraInfo | None) -> Any:
    """``sensor_msgs/CameraInfo``, all zeros when the calibration is unknown."""
    roi = make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return make(
        CAMERA_INFO,
        header=header,
        height=info.height if info else 0,
        width=info.width if info else 0,
        distortion_model=info.distortion_model if info else "",
        d=np.array(info.d if info else (), np.float64),
        k=info.k.reshape(-1) if info else np.zeros(9),
        r=info.r.reshape(-1) if info else np.zeros(9),
        p=info.p.reshape(-1) if info else np.zeros(12),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def stamp_ns(header: Any) -> int:
    """Nanoseconds of a ``std_msgs/Header``."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def peek_header(data: bytes) -> tuple[int, str]:
    """(stamp in ns, frame_id) of a serialised message that starts with a ``std_msgs/Header``.

    Raises:
        DatasetError: too short to hold one.
    """
    try:
        order = "<" if data[1] & 1 else ">"
        seconds, nanoseconds, length = struct.unpack_from(f"{order}iII", data, 4)
        if length < 1 or len(data) < 16 + length:
            raise IndexError
        return seconds * 1_000_000_000 + nanoseconds, bytes(data[16 : 15 + length]).decode("utf8", "replace")
    except (struct.error, IndexError):
        raise DatasetError("message too short for its header") from None


# --- reading ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: its message type and number of messages."""

    msgtype: str
    count: int


class Message(NamedTuple):
    """One recorded message, not yet decoded.

    Attributes:
        topic, msgtype: where it came from and what it is.
        time_ns: when it was recorded.
        data: CDR bytes, which may be passed on to :meth:`BagWriter.write_bytes` as they are.
    """

    topic: str
    msgtype: str
    time_ns: int
    data: bytes


def is_bag(path: Path) -> bool:
    """Whether ``path`` looks like a rosbag2: a folder with metadata.yaml, or an .mcap or .db3 file."""
    if path.is_dir():
        return (path / "metadata.yaml").exists()
    return path.suffix in (".mcap", ".db3")


class BagReader:
    """Reads a bag; a context manager.

    Args:
        path: a rosbag2 folder, or an .mcap or .db3 file.

    Raises:
        DatasetError: not a bag, damaged, or recorded with another definition of our messages. The same from
            the methods when damage shows later.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir() and not (path / "metadata.yaml").exists():
            raise DatasetError(f"{path} has no metadata.yaml; 'ros2 bag reindex {path}' restores it if it was lost")
        with self._errors():
            self._reader = Reader(path)
            self._reader.open()
        self._connections: list[Connection] = list(self._reader.connections)
        self._types: Typestore | None = None
        # Our messages by another definition than ours; a bag without digests is taken at its word.
        self._foreign = {
            c.msgtype
            for c in self._connections
            if c.msgtype.startswith("mdic_ros/")
            and c.digest
            and c.msgtype in typestore().fielddefs
            and c.digest != typestore().hash_rihs01(c.msgtype)
        }
        self.start_ns: int = self._reader.start_time if self._reader.message_count else 0
        self.end_ns: int = self._reader.end_time - 1 if self._reader.message_count else 0

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        # A damaged bag makes the library, sqlite, zstd and yaml raise what they like; all of it means one
        # thing.
        try:
            yield
        except DatasetError:
            raise
        except FileNotFoundError as error:
            raise DatasetError(f"{self.path}: no such bag ({error})") from error
        except Exception as error:
            raise DatasetError(f"{self.path} cannot be read as a bag, it is damaged or not one: {error}") from error

    @property
    def topics(self) -> dict[str, Topic]:
        """All topics by name, in order of their names."""
        found: dict[str, Topic] = {}
        for connection in sorted(self._connections, key=lambda c: c.topic):
            earlier = found.get(connection.topic)
            count = connection.msgcount + (earlier.count if earlier else 0)
            found[connection.topic] = Topic(connection.msgtype, count)
        return found

    @property
    def files(self) -> list[Path]:
        """The storage files of the bag."""
        if self.path.is_file():
            return [self.path]
        return sorted(p for p in self.path.iterdir() if p.suffix in (".mcap", ".db3", ".zstd"))

    def messages(
        self, topics: Sequence[str] | None = None, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[Message]:
        """Messages by recording time, start included, stop not; None for topics means all of them."""
        connections = [c for c in self._connections if topics is None or c.topic in topics]
        if not connections:
            return
        with self._errors():
            for connection, time_ns, data in self._reader.messages(connections, start_ns, stop_ns):
                yield Message(connection.topic, connection.msgtype, time_ns, data)

    def decode(self, message: Message) -> Any:
        """The fields of a message, as an object with the attributes that ROS's own message has.

        Raises:
            DatasetError: unknown type, or bytes that are not such a message.
        """
        name = message.msgtype
        if name in self._foreign:
            raise DatasetError(
                f"{self.path}: recorded with another version of {name}; use the mdic_ros that wrote the bag"
            )
        store = typestore() if name in typestore().fielddefs else self._own_types()
        try:
            return store.deserialize_cdr(message.data, name)
        except Exception as error:
            raise DatasetError(
                f"{self.path}: a message of {message.topic} is not a {name} ({error or type(error).__name__})"
            ) from error

    def _own_types(self) -> Typestore:
        """With the definitions that the bag carries of types that this package does not know."""
        if self._types is not None:
            return self._types
        store = new_typestore()
        for connection in self._connections:
            name, definition = connection.msgtype, connection.msgdef
            if name in store.fielddefs:
                continue
            with contextlib.suppress(Exception):  # a type that nobody asks for may be as strange as it likes
                if definition.format == MessageDefinitionFormat.MSG:
                    new = get_types_from_msg(definition.data, name)
                elif definition.format == MessageDefinitionFormat.IDL:
                    new = get_types_from_idl(definition.data)
                else:
                    continue
                store.register({k: v for k, v in new.items() if k not in store.fielddefs})
        self._types = store
        return store

    def close(self) -> None:
        """Close the files; safe to call again."""
        if self._reader.is_open:
            self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# --- writing ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Open:
    connection: Connection
    msgtype: str


class BagWriter:
    """Writes a bag; a context manager, and the bag appears only when its block ends without an error.

    Until then it grows in a hidden folder beside ``path``, which goes away if anything fails.

    Args:
        path: the folder to make.
        storage: ``mcap`` or ``sqlite3``.
        overwrite: replace a bag that is there already (anything else than a bag is never replaced).

    Raises:
        DatasetError: ``path`` exists, or cannot be made.
    """

    def __init__(self, path: Path, *, storage: Storage = "mcap", overwrite: bool = False) -> None:
        self.path = path
        self.counts: dict[str, int] = {}
        self._overwrite = overwrite
        self._topics: dict[str, _Open] = {}
        check_output(path, overwrite)
        plugin = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[storage]
        try:
            path.absolute().parent.mkdir(parents=True, exist_ok=True)
            self._temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.absolute().parent))
        except OSError as error:
            raise DatasetError(f"cannot write {path}: {error.strerror}") from error
        # The storage file is named after its folder, hence a folder of the right name inside the temporary
        # one.
        self._writer = Writer(self._temporary / path.name, version=8, storage_plugin=plugin)
        try:
            self._writer.open()
        except BaseException:
            shutil.rmtree(self._temporary, ignore_errors=True)
            raise

    def add_topic(self, topic: str, msgtype: str, *, latched: bool = False) -> None:
        """Announce a topic; one that is there already, with the same type, is left as it is.

        Args:
            latched: offer it reliable and transient_local with depth 1, so that a player's late subscriber
                gets the last message. Other topics carry no QoS profile, and players use their default.
        """
        known = self._topics.get(topic)
        if known:
            if known.msgtype != msgtype:
                raise DatasetError(f"{self.path}: topic {topic} would hold both {known.msgtype} and {msgtype}")
            return
        connection = self._writer.add_connection(
            topic, msgtype, typestore=typestore(), offered_qos_profiles=[_LATCHED] if latched else ()
        )
        self._topics[topic] = _Open(connection, msgtype)
        self.counts[topic] = 0

    def write(self, topic: str, message: Any, time_ns: int) -> None:
        """Write a message of :func:`make`; its topic has been announced or is announced hereby."""
        msgtype = message.__msgtype__
        self.write_bytes(topic, msgtype, typestore().serialize_cdr(message, msgtype), time_ns)

    def write_bytes(self, topic: str, msgtype: str, data: bytes | memoryview, time_ns: int) -> None:
        """Write a message that is serialised already, such as one of :meth:`BagReader.messages`."""
        if topic not in self._topics:
            self.add_topic(topic, msgtype)
        try:
            self._writer.write(self._topics[topic].connection, time_ns, data)
        except OSError as error:
            raise DatasetError(f"cannot write {self.path}: {error.strerror}") from error
        self.counts[topic] += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self._writer.abort()
                return
            self._writer.close()
            if self.path.exists():
                check_output(self.path, self._overwrite)
                self.path.rename(self._temporary / "replaced bag")
            (self._temporary / self.path.name).rename(self.path)
        except OSError as failure:
            raise DatasetError(f"cannot write {self.path}: {failure.strerror}") from failure
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse to write over something.

    Raises:
        DatasetError: ``path`` exists, and either ``overwrite`` is False or it is not a bag.
    """
    if not path.exists():
        return
    if not overwrite:
        raise DatasetError(f"{path} exists; choose another name, or --force to replace it")
    if not (path.is_dir() and is_bag(path)):
        raise DatasetError(f"{path} exists and is not a bag folder; it is left alone, choose another name")


# --- pairing ------------------------------------------------------------------------------------------------


def nearest(stamps: Sequence[int], stamp: int, slop_ns: int) -> int | None:
    """Index of the entry of ``stamps`` (ascending) nearest to ``stamp``, at most ``slop_ns`` away, or None.

    Of two that are equally near, the earlier one.
    """
    at = bisect.bisect_left(stamps, stamp)
    best = min((i for i in (at - 1, at) if 0 <= i < len(stamps)), key=lambda i: abs(stamps[i] - stamp), default=None)
    return best if best is not None and abs(stamps[best] - stamp) <= slop_ns else None


def pair_nearest(left: Sequence[int], right: Sequence[int], slop_ns: int) -> list[tuple[int, int]]:
    """Pairs (left index, right index) of two ascending lists of stamps, each entry in one pair at most.

    A pair is two stamps of which each is the other's nearest, at most ``slop_ns`` apart.
    """
    pairs = []
    for i, stamp in enumerate(left):
        j = nearest(right, stamp, slop_ns)
        if j is not None and nearest(left, right[j], slop_ns) == i:
            pairs.append((i, j))
    return pairs


def payload_kbps(sizes: list[int], stamps: list[int]) -> float:
    """kbit/s of packets whose frames have these stamps (ns); NaN when the stamps tell no rate."""
    if len(stamps) < 2 or max(stamps) == min(stamps):
        return math.nan
    period_s = (max(stamps) - min(stamps)) / 1e9 / (len(stamps) - 1)
    return sum(sizes) / len(sizes) * 8 / 1000 / period_s
