from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from mdic_ros.datasets import DatasetError, open_stereo
from mdic_ros.datasets.bag import BagReader, is_bag
from mdic_ros.datasets.bag_writer import BagWriter, Storage
from mdic_ros.datasets.messages import BITSTREAM, make, make_header, peek_header, stamp_ns, typestore
from mdic_ros.errors import ImageError

SECOND = 1_000_000_000


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_our_messages_round_trip(tmp_path: Path, storage: Storage) -> None:
    header = make_header(1_317_042_272_345_808_896, "camera_color_left")
    data = bytes(range(256))
    sent = make(BITSTREAM, header=header, sequence=2**32 - 1, data=np.frombuffer(data, np.uint8))
    with BagWriter(tmp_path / "b", storage=storage) as writer:
        writer.write("/left/bitstream", sent, 5 * SECOND)
    with BagReader(tmp_path / "b") as reader:
        assert reader.topics["/left/bitstream"].msgtype == BITSTREAM
        (message,) = reader.messages()
        assert message.time_ns == 5 * SECOND
        assert peek_header(message.data) == (1_317_042_272_345_808_896, "camera_color_left")
        got = reader.decode(message)
    assert bytes(got.data) == data
    assert got.sequence == 2**32 - 1
    assert stamp_ns(got.header) == 1_317_042_272_345_808_896


def test_damaged_bags_are_named(tmp_path: Path, write_pairs: Any) -> None:
    path = tmp_path / "bag"
    write_pairs(path, [1, 2], [1, 2])
    storage = next(path.glob("*.mcap"))
    whole = storage.read_bytes()
    cases = {
        "cut": lambda: storage.write_bytes(whole[: len(whole) // 2]),
        "empty": lambda: storage.write_bytes(b""),
        "garbage": lambda: storage.write_bytes(b"\x07" * 5000),
        "missing": lambda: storage.unlink(),
        "metadata": lambda: (path / "metadata.yaml").write_text("[}"),
        "nothing": lambda: (path / "metadata.yaml").unlink(),
    }
    for damage in cases.values():
        damage()
        with pytest.raises(DatasetError, match=str(path)):
            open_stereo(path, "bag")
    with pytest.raises(DatasetError, match="no such"):
        BagReader(tmp_path / "nothing.mcap")


def test_another_version_of_our_messages_is_refused(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "b") as writer:
        message = make(BITSTREAM, header=make_header(1, ""), sequence=0, data=np.zeros(3, np.uint8))
        writer.write("/bitstream", message, 1)
    meta = tmp_path / "b" / "metadata.yaml"
    meta.write_text(meta.read_text().replace(typestore().hash_rihs01(BITSTREAM), "RIHS01_" + "0" * 64))
    with BagReader(tmp_path / "b") as reader, pytest.raises(DatasetError, match="another version"):
        reader.decode(next(iter(reader.messages())))


def edit(bag: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edits metadata.yaml as people do."""
    file = bag / "metadata.yaml"
    tree = yaml.safe_load(file.read_text())
    change(tree["rosbag2_bagfile_information"])
    file.write_text(yaml.safe_dump(tree))


def times(path: Path) -> list[int]:
    with BagReader(path) as reader:
        return [message.time_ns for message in reader.messages()]


FOREVER = "{sec: 2147483647, nsec: 4294967295}"
QOS = (
    f"- {{history: 3, depth: 0, reliability: 1, durability: 1, deadline: {FOREVER}, lifespan: {FOREVER}, "
    f"liveliness: 1, liveliness_lease_duration: {FOREVER}, avoid_ros_namespace_conventions: false}}"
)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("qos", [QOS, "- {reliability: best_effort}", "nonsense", 7, None])
def test_qos_profiles_edited_by_hand_do_not_matter(
    tmp_path: Path, storage: Storage, qos: Any, write_pairs: Any
) -> None:
    write_pairs(tmp_path / "b", [1, 2], [1, 2], storage=storage)

    def change(metadata: dict[str, Any]) -> None:
        for entry in metadata["topics_with_message_count"]:
            entry["topic_metadata"]["offered_qos_profiles"] = qos

    edit(tmp_path / "b", change)
    assert times(tmp_path / "b") == [1, 1, 2, 2]
    with open_stereo(tmp_path / "b") as source:
        assert len(source) == 2


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_the_storage_is_known_by_its_suffix(tmp_path: Path, storage: Storage, write_pairs: Any) -> None:
    write_pairs(tmp_path / "b", [1], [1], storage=storage)
    edit(
        tmp_path / "b", lambda metadata: metadata.update(storage_identifier="")
    )  # as 'ros2 bag reindex' of Humble does
    assert times(tmp_path / "b") == [1, 1]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_without_metadata_is_read_all_the_same(tmp_path: Path, storage: Storage, write_pairs: Any) -> None:
    write_pairs(tmp_path / "b", [1, 2], [1, 2], storage=storage)
    (tmp_path / "b" / "metadata.yaml").unlink()
    assert is_bag(tmp_path / "b")
    assert times(tmp_path / "b") == [1, 1, 2, 2]


def test_several_bags_in_a_folder_are_not_one(tmp_path: Path, write_pairs: Any) -> None:
    for name in ("monday", "tuesday"):
        write_pairs(tmp_path / name, [1], [1])
        (tmp_path / name / f"{name}.mcap").rename(tmp_path / f"{name}.mcap")
        (tmp_path / name / "metadata.yaml").unlink()
    assert not is_bag(tmp_path)  # there are folders
    for name in ("monday", "tuesday"):
        (tmp_path / name).rmdir()
    assert is_bag(tmp_path)
    with pytest.raises(DatasetError, match=r"several bags.*monday\.mcap, tuesday\.mcap.*name one"):
        BagReader(tmp_path)
    (tmp_path / "monday.mcap").rename(tmp_path / "day_0.mcap")
    (tmp_path / "tuesday.mcap").rename(tmp_path / "day_1.mcap")
    assert times(tmp_path) == [1, 1, 1, 1]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("name", ["a #1", "what?", "50%41", "a b&c=d", "ä\n"])
def test_names_that_mean_something_in_a_uri(tmp_path: Path, storage: Storage, name: str, write_pairs: Any) -> None:
    bag = tmp_path / f"below {name}" / name
    write_pairs(bag, [1, 2], [1, 2], storage=storage)
    (file,) = (file for file in bag.iterdir() if file.suffix in (".mcap", ".db3"))
    assert file.stem == name
    assert times(bag) == times(file) == [1, 1, 2, 2]
    assert [path.name for path in tmp_path.iterdir()] == [f"below {name}"]
    assert [path.name for path in bag.parent.iterdir()] == [name]


def test_what_metadata_promises_is_compared(tmp_path: Path, caplog: pytest.LogCaptureFixture, write_pairs: Any) -> None:
    write_pairs(tmp_path / "b", [1, 2], [1, 2])

    def change(metadata: dict[str, Any]) -> None:
        metadata["topics_with_message_count"][0]["message_count"] = 5

    edit(tmp_path / "b", change)
    (tmp_path / "b" / "later.mcap").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert times(tmp_path / "b") == [1, 1, 2, 2]
    assert "/stereo/left/image_raw has 2 messages, not 5" in caplog.text
    assert "later.mcap is not listed in metadata.yaml" in caplog.text


def test_a_missing_file_is_named(tmp_path: Path, write_pairs: Any) -> None:
    write_pairs(tmp_path / "b", [1], [1])
    edit(tmp_path / "b", lambda metadata: metadata["relative_file_paths"].append("old name/b_1.mcap"))
    with pytest.raises(DatasetError, match=r"lacks b_1\.mcap.*ros2 bag reindex"):
        BagReader(tmp_path / "b")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_split_bags_are_read_in_order_of_time(tmp_path: Path, storage: Storage, write_pairs: Any) -> None:
    """Reindexing lists b_10 before b_2, and the files may overlap."""
    bag = tmp_path / "b"
    bag.mkdir()
    for name, stamps in (("b_0", [1, 2]), ("b_2", [5, 8]), ("b_10", [6, 9])):
        write_pairs(tmp_path / name, stamps, stamps, storage=storage)
        (file,) = (file for file in (tmp_path / name).iterdir() if file.name != "metadata.yaml")
        file.rename(bag / file.name)
    (tmp_path / "b_0" / "metadata.yaml").rename(bag / "metadata.yaml")
    suffix = next(bag.glob("b_0.*")).suffix

    def change(metadata: dict[str, Any]) -> None:
        metadata["relative_file_paths"] = [f"{name}{suffix}" for name in ("b_0", "b_10", "b_2")]
        for entry in metadata["topics_with_message_count"]:
            entry["message_count"] = 6

    edit(bag, change)
    assert times(bag) == [1, 1, 2, 2, 5, 5, 6, 6, 8, 8, 9, 9]
    with BagReader(bag) as reader:
        assert (reader.start_ns, reader.end_ns) == (1, 9)
        assert [m.time_ns for m in reader.messages(["/stereo/left/image_raw"], 5, 9)] == [5, 6, 8]
        assert {topic.count for topic in reader.topics.values()} == {6}
        assert len(reader.files) == 3


@pytest.mark.parametrize("plugin", list(StoragePlugin))
@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_compressed_bags(tmp_path: Path, plugin: StoragePlugin, mode: CompressionMode, compressed: Any) -> None:
    writer = Writer(tmp_path / "b", version=8, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    message = compressed(7)
    with writer:
        connection = writer.add_connection("/x", message.__msgtype__, typestore=typestore())
        data = typestore().serialize_cdr(message, message.__msgtype__)
        writer.write(connection, 3, data)
    with BagReader(tmp_path / "b") as reader:
        (read,) = reader.messages()
    assert (read.time_ns, read.data) == (3, bytes(data))
    (file,) = (file for file in (tmp_path / "b").iterdir() if file.name != "metadata.yaml")
    with BagReader(file) as reader:  # alone it does not say how its messages are compressed
        assert [message.data for message in reader.messages()] == [bytes(data)]


#: A whole MCAP file without messages, whose profile is not ros2.
MCAP_OF_OTHERS = (
    b"\x89MCAP0\r\n\x01\x08\0\0\0\0\0\0\0" + bytes(8) + b"\x02\x14\0\0\0\0\0\0\0" + bytes(20) + b"\x89MCAP0\r\n"
)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 345\n"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x.bag", b"#ROSBAG V2.0\n", r"ROS 1.*rosbags-convert --src \S*x\.bag --dst"),
        ("x.mcap", b"#ROSBAG V2.0\n", "ROS 1"),
        ("x.bag", b"something else", "not a bag"),
        ("x.mcap", LFS, "git lfs pull"),
        ("x.db3", LFS, "git lfs pull"),
        ("x.mcap", b"\x89MCAP0\r\n" + bytes(100), r"mcap recover \S*x\.mcap"),
        ("x.mcap", b"", "is empty; copy it again"),
        ("x.mcap", MCAP_OF_OTHERS, "something else than ROS 2"),
        ("x.db3", b"SQLite format 3\0" + bytes(84), r"sqlite3 \S*x\.db3 \.recover"),
        ("x.mcap.zstd", b"\x28\xb5\x2f\xfd" + bytes(9), "damaged"),
    ],
)
def test_what_is_found_in_place_of_a_bag(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=words) as error:
        open_stereo(path)
    assert str(path) in str(error.value)


def test_pointers_of_git_lfs_inside_a_bag(tmp_path: Path, write_pairs: Any) -> None:
    write_pairs(tmp_path / "b", [1], [1])
    next((tmp_path / "b").glob("*.mcap")).write_bytes(LFS)
    with pytest.raises(DatasetError, match="git lfs pull"):
        BagReader(tmp_path / "b")
    (tmp_path / "b" / "metadata.yaml").write_bytes(LFS)
    with pytest.raises(DatasetError, match="git lfs pull"):
        BagReader(tmp_path / "b")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_truncated_bags_say_how_to_recover(tmp_path: Path, storage: Storage, write_pairs: Any) -> None:
    write_pairs(tmp_path / "b", list(range(1, 200)), list(range(1, 200)), storage=storage)
    file = next(file for file in (tmp_path / "b").iterdir() if file.name != "metadata.yaml")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DatasetError, match="recover"):
        times(tmp_path / "b")


def test_messages_beside_the_database_are_not_lost(tmp_path: Path, write_pairs: Any) -> None:
    """A recorder that was killed leaves a write-ahead log, which a reader that may not write does not look at."""
    write_pairs(tmp_path / "b", [1], [1], storage="sqlite3")
    file = next((tmp_path / "b").glob("*.db3"))
    database = sqlite3.connect(file, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    database.execute("INSERT INTO messages (topic_id, timestamp, data) SELECT topic_id, 9, data FROM messages")
    with pytest.raises(DatasetError, match=r"b\.db3-wal holds a part of it.*wal_checkpoint"):
        BagReader(tmp_path / "b")
    database.close()
    assert times(tmp_path / "b") == [1, 1, 9, 9]


def test_other_serialisations_are_refused(tmp_path: Path, compressed: Any) -> None:
    message = compressed(7)
    with Writer(tmp_path / "b", version=8) as writer:
        connection = writer.add_connection(
            "/x", message.__msgtype__, typestore=typestore(), serialization_format="json"
        )
        writer.write(connection, 3, b"{}")
    with BagReader(tmp_path / "b") as reader, pytest.raises(DatasetError, match="serialised as json"):
        list(reader.messages())


def test_nothing_stays_open_or_behind_when_opening_fails(tmp_path: Path, write_pairs: Any) -> None:
    """A whole file and a damaged one in a bag below a folder whose name sqlite would misread."""
    bag = tmp_path / "a #1"
    write_pairs(bag, [1], [1], storage="sqlite3")
    (bag / "z.db3").write_bytes(b"SQLite format 3\0" + bytes(84))
    edit(bag, lambda metadata: metadata["relative_file_paths"].append("z.db3"))
    with pytest.raises(DatasetError, match=r"z\.db3"):
        BagReader(bag)
    assert not [link for link in Path("/proc/self/fd").iterdir() if str(bag) in str(link.resolve())]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_damage_anywhere_is_a_dataset_error_or_none(tmp_path: Path, storage: Storage, write_pairs: Any) -> None:
    bag = tmp_path / "b"
    write_pairs(bag, [1, 2, 3], [1, 2, 3], [1, 2, 3], storage=storage)
    whole = {file: file.read_bytes() for file in bag.iterdir()}
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        for file, data in whole.items():
            changed = np.frombuffer(data, np.uint8).copy()
            places = random.integers(0, changed.size, random.choice([0, 1, 3, 30]))
            changed[places] = random.integers(0, 256, places.size)
            file.write_bytes(changed[: random.integers(1, changed.size)] if random.random() < 0.1 else changed)
        try:
            with open_stereo(bag, "bag") as source:
                for frame in source:
                    with contextlib.suppress(ImageError):
                        frame.check()
        except DatasetError:
            refused += 1
    assert 20 < refused < 150
