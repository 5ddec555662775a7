"""rosbag2 files (mcap, sqlite3) written without ROS, our own messages included.

Bags are written in metadata version 8, the newest that Humble, Jazzy and Kilted all read (from version 9 on, QoS
profiles are no longer a string, on which Humble stops).
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.rosbag2.enums import CompressionMode
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Writer

from mdic_ros.datasets.bag import BagReader
from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.messages import typestore
from mdic_ros.datasets.temporary import signals_held, temporary_folder

Storage = Literal["mcap", "sqlite3"]

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


class _Sqlite3Writer(Sqlite3Writer):
    """Opens the file by its path. rosbags makes a URI of it, in which #, ? and % have a meaning."""

    def __init__(self, path: Path, compression: CompressionMode) -> None:
        self.path = path / f"{path.name}.db3"
        self.conn = sqlite3.connect(self.path)
        self.conn.executescript(self.SQLITE_SCHEMA)
        self.cursor = self.conn.cursor()


class _Writer(Writer):
    STORAGE_PLUGINS = {**Writer.STORAGE_PLUGINS, StoragePlugin.SQLITE3: _Sqlite3Writer}  # noqa: RUF012


@dataclass(frozen=True)
class _Open:
    connection: Connection
    msgtype: str


class BagWriter:
    """Writes a bag; a context manager, and the bag appears only when its block ends without an error.

    Until then it grows in a hidden folder beside `path`, which goes away if anything fails, SIGTERM and SIGHUP
    included. A bag that is replaced stays where it is until the new one is whole.

    Args:
        path: the folder to make.
        storage: `mcap` or `sqlite3`.
        overwrite: replace a bag that is there already (anything else than a bag is never replaced).

    Attributes:
        counts: messages written, by topic.

    Raises:
        DatasetError: `path` exists, or it cannot be written; the same from the methods, when the disk is full.
    """

    def __init__(self, path: Path, *, storage: Storage = "mcap", overwrite: bool = False) -> None:
        self.path = path
        self.counts: dict[str, int] = {}
        self._plugin = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[storage]
        self._overwrite = overwrite
        self._topics: dict[str, _Open] = {}
        self._stack = contextlib.ExitStack()
        check_output(path, overwrite)

    def add_topic(self, topic: str, msgtype: str, *, latched: bool = False) -> None:
        """Announce a topic; one that is there already, with the same type, is left as it is.

        Args:
            topic, msgtype: name and type.
            latched: offer it reliable and transient_local with depth 1, so that a player's late subscriber
                gets the last message. Other topics carry no QoS profile, and players use their default.
        """
        known = self._topics.get(topic)
        if known:
            if known.msgtype != msgtype:
                raise DatasetError(f"{self.path}: topic {topic} would hold both {known.msgtype} and {msgtype}")
            return
        with self._errors():
            connection = self._writer.add_connection(
                topic, msgtype, typestore=typestore(), offered_qos_profiles=[_LATCHED] if latched else ()
            )
        self._topics[topic] = _Open(connection, msgtype)
        self.counts[topic] = 0

    def write(self, topic: str, message: Any, time_ns: int) -> None:
        """Write a message of `messages.make`; a topic that was not announced is announced."""
        msgtype = message.__msgtype__
        self.write_bytes(topic, msgtype, typestore().serialize_cdr(message, msgtype), time_ns)

    def write_bytes(self, topic: str, msgtype: str, data: bytes | memoryview, time_ns: int) -> None:
        """Write a message that is serialised already, such as one of `BagReader.messages`."""
        if topic not in self._topics:
            self.add_topic(topic, msgtype)
        with self._errors():
            self._writer.write(self._topics[topic].connection, time_ns, data)
        self.counts[topic] += 1

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, WriterError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            full = getattr(error, "errno", None) == errno.ENOSPC or "disk is full" in reason
            mend = "; make room, or write to another disk" if full else ""
            raise DatasetError(f"cannot write {self.path}: {reason}{mend}") from error

    def __enter__(self) -> Self:
        name, parent = self.path.name, self.path.absolute().parent
        with self._errors():
            parent.mkdir(parents=True, exist_ok=True)
            self._temporary = self._stack.enter_context(temporary_folder(parent, f".{name}."))
            try:
                # The storage file is named after its folder, which therefore has the final name in a temporary one.
                self._writer = _Writer(self._temporary / name, version=8, storage_plugin=self._plugin)
                self._writer.open()
            except BaseException:
                self._stack.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if error is None:
                try:
                    with self._errors():
                        self._writer.close()
                        self._verify()
                        self._put_in_place()
                    return
                except BaseException:
                    self._abort()
                    raise
            self._abort()

    def _abort(self) -> None:
        with contextlib.suppress(Exception):  # a full disk is full for this, too; the folder goes away anyway
            self._writer.abort()

    def _verify(self) -> None:
        """Compares what was written with what lies on the disk."""
        with BagReader(self._temporary / self.path.name) as reader:
            there = {name: topic.count for name, topic in reader.topics.items()}
        if there != self.counts:
            raise DatasetError(f"cannot write {self.path}: it holds {there} messages, of {self.counts} written")

    def _put_in_place(self) -> None:
        new, old = self._temporary / self.path.name, self._temporary / "replaced bag"
        with signals_held():
            if self.path.exists():
                check_output(self.path, self._overwrite)
                self.path.rename(old)
            try:
                new.rename(self.path)
            except OSError:
                if old.exists():
                    old.rename(self.path)
                raise


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse to write over something.

    Raises:
        DatasetError: `path` exists, and either `overwrite` is False or it is not a bag.
    """
    if not path.exists():
        return
    if not overwrite:
        raise DatasetError(f"{path} exists; choose another name, or --force to replace it")
    if not (path / "metadata.yaml").exists():
        raise DatasetError(f"{path} exists and is not a bag folder; it is left alone, choose another name")
