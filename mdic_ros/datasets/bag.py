"""rosbag2 files (mcap, sqlite3) read without ROS, our own messages included.

The storage files are read with the pure-Python library `rosbags`, one by one. metadata.yaml is read here, for what the
files do not know themselves: which of them belong to the bag, and how many messages each topic should have. What else
it says is edited by hand before `ros2 bag play`, or lost by `ros2 bag reindex`, and does not decide whether messages
are found.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import re
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, NamedTuple, Self

import yaml
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinitionFormat
from rosbags.rosbag2 import Reader
from rosbags.typesys import get_types_from_idl, get_types_from_msg
from rosbags.typesys.store import Typestore

from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.files import is_lfs_pointer, read_text
from mdic_ros.datasets.messages import new_typestore, typestore
from mdic_ros.datasets.temporary import temporary_folder

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

log = logging.getLogger(__name__)

_STORAGES = (".mcap", ".db3")
_ROS1 = b"#ROSBAG V"
_ZSTD = b"\x28\xb5\x2f\xfd"
#: Most bytes that one compressed message may become.
_MOST_MESSAGE_BYTES = 1 << 30


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
        data: CDR bytes, which may be passed on to `BagWriter.write_bytes` as they are.
    """

    topic: str
    msgtype: str
    time_ns: int
    data: bytes


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: a folder with metadata.yaml or with storage files alone, or such a file.

    A ROS 1 file (.bag) counts as well: `BagReader` says how to convert it.
    """
    if path.is_dir():
        alone = not any(inner.is_dir() for inner in path.iterdir())
        return (path / "metadata.yaml").exists() or (alone and bool(_storage_files(path)))
    return _is_storage(path) or path.suffix == ".bag"


def _is_storage(path: Path) -> bool:
    return path.suffix in _STORAGES or (path.suffix == ".zstd" and PurePath(path.stem).suffix in _STORAGES)


def _storage_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if _is_storage(file) and not file.name.startswith("."))


@dataclass
class _Metadata:
    """What metadata.yaml says that is believed, or compared with what is there."""

    files: list[Path]
    topics: dict[str, Topic] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)


def _read_metadata(folder: Path) -> _Metadata:
    file = folder / "metadata.yaml"
    mend = f"'ros2 bag reindex {shlex.quote(str(folder))}' writes it anew"
    try:
        tree = yaml.load(read_text(file), getattr(yaml, "CSafeLoader", yaml.SafeLoader))["rosbag2_bagfile_information"]
        mode = str(tree.get("compression_mode") or "").lower()
        form = str(tree.get("compression_format") or "zstd").lower()
        found = _Metadata([folder / PurePath(name).name for name in tree["relative_file_paths"]])
        for entry in tree["topics_with_message_count"]:
            topic = entry["topic_metadata"]
            found.topics[topic["name"]] = Topic(str(topic["type"]), int(entry["message_count"]))
            found.digests[topic["name"]] = str(topic.get("type_description_hash") or "")
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(f"{file} is not the metadata of a bag ({type(error).__name__}: {reason}); {mend}") from error
    if form != "zstd" and mode not in ("", "none"):
        raise DatasetError(f"{folder} is compressed with {form}, only zstd can be read; use 'ros2 bag convert'")
    missing = [name.name for name in found.files if not name.exists()]
    if missing:
        raise DatasetError(
            f"{folder} lacks {', '.join(missing)}, which metadata.yaml lists; copy what is missing, or {mend}"
        )
    others = [name.name for name in _storage_files(folder) if name not in found.files]
    if others:
        log.warning("%s: %s is not listed in metadata.yaml and not read; %s", folder, ", ".join(others), mend)
    return found


class BagReader:
    """Reads a bag; a context manager.

    Args:
        path: a rosbag2 folder, or an .mcap or .db3 file.

    Attributes:
        path: as given.
        start_ns, end_ns: time of the first and the last message; 0 when there is none.

    Raises:
        DatasetError: not a bag, damaged, or recorded with another definition of our messages. The same from
            the methods when damage shows later.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = contextlib.ExitStack()
        self._types: Typestore | None = None
        try:
            self._metadata = self._find()
            self._storages = sorted(map(self._open, self._metadata.files), key=lambda reader: reader.start_time)
            self._connections = [c for reader in self._storages for c in reader.connections]
            self._compare()
        except BaseException:
            self._stack.close()
            raise
        filled = [reader for reader in self._storages if reader.message_count]
        self.start_ns: int = min((reader.start_time for reader in filled), default=0)
        self.end_ns: int = max((reader.end_time - 1 for reader in filled), default=0)
        # Our messages by another definition than ours; a bag without digests is believed to have ours.
        ours = {name for name in typestore().fielddefs if name.startswith("mdic_ros/")}
        self._foreign = {
            c.msgtype
            for c in self._connections
            for digest in (c.digest or self._metadata.digests.get(c.topic),)
            if c.msgtype in ours and digest and digest != typestore().hash_rihs01(c.msgtype)
        }

    def _find(self) -> _Metadata:
        path = self.path
        if not path.exists():
            raise DatasetError(f"{path}: no such bag")
        if not path.is_dir():
            return _Metadata([path])
        if (path / "metadata.yaml").exists():
            return _read_metadata(path)
        files = _storage_files(path)
        if not files:
            raise DatasetError(f"{path} has neither metadata.yaml nor .mcap or .db3 files; name a bag's folder or file")
        # rosbag2 numbers the parts of a bag: drive_0.mcap, drive_1.mcap
        if len({re.sub(r"_\d+$", "", file.name.partition(".")[0]) for file in files}) > 1:
            names = ", ".join(file.name for file in files[:8])
            raise DatasetError(
                f"{path} holds several bags and no metadata.yaml ({names}); name one of them, or make them one with "
                f"'ros2 bag reindex {shlex.quote(str(path))}'"
            )
        return _Metadata(files)

    def _open(self, file: Path) -> Reader:
        """A storage file, opened; `rosbags` tells its kind by its suffix."""
        _check_head(file)
        with self._errors(file):
            if file.suffix == ".zstd":
                file = self._decompressed(file)
            # rosbags puts the path into a URI as it is, where these characters have a meaning
            if file.suffix == ".db3" and not {"#", "?", "%"}.isdisjoint(str(file)):
                link = self._stack.enter_context(temporary_folder()) / "bag.db3"
                link.symlink_to(file.resolve())
                file = link
            reader = Reader(file)
            reader.open()
            self._stack.callback(reader.close)
            return reader

    def _decompressed(self, file: Path) -> Path:
        target = self._stack.enter_context(temporary_folder()) / f"bag{PurePath(file.stem).suffix}"
        with zstd.open(file, "rb") as packed, target.open("wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 20)
        return target

    def _compare(self) -> None:
        """Warns when topics do not have the number of messages that metadata.yaml promises."""
        counts = Counter[str]()
        for connection in self._connections:
            counts[connection.topic] += connection.msgcount
        wrong = [
            f"{name} has {counts[name]} messages, not {topic.count}"
            for name, topic in sorted(self._metadata.topics.items())
            if topic.count != counts[name]
        ]
        if wrong:
            log.warning(
                "%s is not as its metadata.yaml says, perhaps incomplete: %s. 'ros2 bag reindex' writes metadata anew",
                self.path,
                "; ".join(wrong),
            )

    @contextlib.contextmanager
    def _errors(self, file: Path | None = None) -> Iterator[None]:
        """What rosbags, sqlite, zstd and lz4 raise of a damaged file, of any type, as a DatasetError."""
        try:
            yield
        except DatasetError:
            raise
        except Exception as error:
            file = file or (self.files[0] if len(self.files) == 1 else self.path)
            if isinstance(error, PermissionError):
                raise DatasetError(f"{file} cannot be read: {error.strerror}") from error
            reason = str(error).removesuffix(".") or type(error).__name__
            quoted = shlex.quote(str(file))
            mends = {
                ".mcap": f"'mcap recover {quoted} -o recovered.mcap' saves what is whole",
                ".db3": f"'sqlite3 {quoted} .recover | sqlite3 recovered.db3' saves what is whole",
            }
            mend = mends.get(file.suffix, "copy it again from the source")
            if "Profile is not ros2" in reason:
                mend = "it was recorded by something else than ROS 2, convert it with 'ros2 bag convert'"
            raise DatasetError(f"{file} is damaged, incomplete or not a bag ({reason}); {mend}") from error

    @property
    def topics(self) -> dict[str, Topic]:
        """All topics by name, in order of their names."""
        found = {name: Topic(topic.msgtype, 0) for name, topic in self._metadata.topics.items()}
        for connection in self._connections:
            earlier = found.get(connection.topic, Topic(connection.msgtype, 0))
            msgtype = connection.msgtype if connection.msgcount else earlier.msgtype
            found[connection.topic] = Topic(msgtype, connection.msgcount + earlier.count)
        return dict(sorted(found.items()))

    @property
    def files(self) -> list[Path]:
        """The storage files of the bag."""
        return list(self._metadata.files)

    def messages(
        self, topics: Sequence[str] | None = None, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[Message]:
        """Messages by recording time, start included, stop not; None for topics means all of them.

        A warning is logged when there are fewer than the index of the bag says.

        Raises:
            DatasetError: damaged, or a topic is not serialised as ROS 2 does by default.
        """
        expected, read = 0, 0
        sources = []
        for reader in self._storages:
            wanted = [c for c in reader.connections if topics is None or c.topic in topics]
            for connection in wanted:
                _check_format(self.path, connection)
                expected += connection.msgcount
            if wanted:
                sources.append(reader.messages(wanted, start_ns, stop_ns))
        with self._errors():
            for connection, time_ns, data in heapq.merge(*sources, key=lambda message: message[1]):
                if data[:4] == _ZSTD:  # a CDR message begins with 0
                    data = _decompress(data)
                read += 1
                yield Message(connection.topic, connection.msgtype, time_ns, data)
        if start_ns is None and stop_ns is None and read != expected:
            log.warning("%s: %d of %d messages could be read, it is damaged", self.path, read, expected)

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
                f"{self.path}: a message of {message.topic} is not a {name} ({error or type(error).__name__}); it is "
                "damaged, or of another version of that type"
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
            with contextlib.suppress(Exception):  # broken definitions of types that are never read do no harm
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
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_head(file: Path) -> None:
    """Recognises what is often found in place of a storage file.

    Raises:
        DatasetError: it is that, or cannot be read.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror}") from error
    if not head:
        raise DatasetError(f"{file} is empty; copy it again from the source")
    if is_lfs_pointer(head):
        raise DatasetError(f"{file} is a pointer of Git LFS, the bag itself is not here; fetch it with 'git lfs pull'")
    if head.startswith(_ROS1):
        source, target = shlex.quote(str(file)), shlex.quote(str(file.with_suffix("")))
        raise DatasetError(f"{file} is a bag of ROS 1; convert it with: rosbags-convert --src {source} --dst {target}")
    for suffix in ("-wal", "-journal"):
        rest = file.with_name(file.name + suffix)
        if file.suffix == ".db3" and rest.exists() and rest.stat().st_size:
            raise DatasetError(
                f"{file} is not finished: {rest.name} holds a part of it (is it being recorded?). If not, "
                f'this puts them together: sqlite3 {shlex.quote(str(file))} "PRAGMA wal_checkpoint(TRUNCATE)"'
            )


def _check_format(path: Path, connection: Connection) -> None:
    extra = connection.ext
    if isinstance(extra, ConnectionExtRosbag2) and extra.serialization_format not in ("cdr", ""):
        raise DatasetError(
            f"{path}: {connection.topic} is serialised as {extra.serialization_format}, only cdr is supported; "
            "record it with ROS 2's own message types"
        )


def _decompress(data: bytes) -> bytes:
    decompressor = zstd.ZstdDecompressor()
    plain = decompressor.decompress(data, max_length=_MOST_MESSAGE_BYTES)
    if not decompressor.eof:
        raise ValueError("a compressed message is cut off or too large")
    return plain
