from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mdic_ros.datasets import DatasetError, open_stereo
from mdic_ros.datasets.bag import BagReader
from mdic_ros.datasets.bag_writer import BagWriter, Storage, check_output
from mdic_ros.datasets.messages import COMPRESSED_IMAGE, IMAGE

SECOND = 1_000_000_000


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_qos_is_offered_for_latched_topics_only(tmp_path: Path, storage: Storage, compressed: Any) -> None:
    with BagWriter(tmp_path / "b", storage=storage) as writer:
        writer.add_topic("/latched", COMPRESSED_IMAGE, latched=True)
        writer.write("/latched", compressed(1), 1)
        writer.write("/plain", compressed(1), 1)
    meta = yaml.safe_load((tmp_path / "b" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    qos = {
        t["topic_metadata"]["name"]: t["topic_metadata"]["offered_qos_profiles"]
        for t in meta["topics_with_message_count"]
    }
    assert qos["/plain"] == ""
    (profile,) = yaml.safe_load(qos["/latched"])
    assert (profile["durability"], profile["reliability"], profile["depth"]) == (1, 1, 1)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_nothing_is_left_after_a_failure(tmp_path: Path, storage: Storage, compressed: Any) -> None:
    with pytest.raises(RuntimeError), BagWriter(tmp_path / "b", storage=storage) as writer:
        writer.write("/x", compressed(1), 1)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_existing_bags_are_replaced_only_when_told_and_only_on_success(tmp_path: Path, write_pairs: Any) -> None:
    path = tmp_path / "b"
    write_pairs(path, [1], [1])
    with pytest.raises(DatasetError, match="--force"):
        BagWriter(path)
    with pytest.raises(RuntimeError), BagWriter(path, overwrite=True):
        raise RuntimeError
    assert len(open_stereo(path)) == 1
    write_pairs(path, [1, SECOND], [1, SECOND], overwrite=True)
    assert len(open_stereo(path)) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_not_a_bag_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("x")
    with pytest.raises(DatasetError, match="not a bag folder"):
        BagWriter(tmp_path / "home", overwrite=True)
    assert (tmp_path / "home" / "thesis.tex").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot write"), BagWriter(tmp_path / "file" / "bag"):
        pass


# Writes bags of 100 kB messages until it is stopped; what else is in it, the tests say.
WRITE = """
import resource, sys
from pathlib import Path
import numpy as np
from mdic_ros.datasets import DatasetError
from mdic_ros.datasets.bag_writer import BagWriter
from mdic_ros.datasets.messages import make_compressed_image, make_header

def write(count, **options):
    with BagWriter(Path(sys.argv[1]), storage=sys.argv[2], **options) as writer:
        for index in range(count):
            message = make_compressed_image(make_header(index, "c"), "png", bytes(100_000))
            writer.write("/x", message, index)
            if index == 20:
                print("ready", flush=True)
"""


def counts(path: Path) -> int:
    with BagReader(path) as reader:
        return len(list(reader.messages()))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_full_disk_leaves_the_old_bag(tmp_path: Path, storage: Storage) -> None:
    """A limit on the size of files stands in for the disk: the system refuses to write in the same place."""
    bag = tmp_path / "b"
    code = (
        WRITE
        + """
write(3)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    write(100, overwrite=True)
except DatasetError as error:
    sys.exit(str(error))
"""
    )
    done = subprocess.run([sys.executable, "-c", code, bag, storage], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot write {bag}: ")
    assert counts(bag) == 3
    assert list(tmp_path.iterdir()) == [bag]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_the_old_bag_and_no_folder(tmp_path: Path, number: signal.Signals) -> None:
    bag = tmp_path / "b"
    code = WRITE + "write(3)\nwrite(100_000, overwrite=True)\n"
    with subprocess.Popen([sys.executable, "-c", code, bag, "mcap"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        assert len(list(tmp_path.iterdir())) == 2
        process.send_signal(number)
        assert process.wait(30) == -number
    assert counts(bag) == 3
    assert list(tmp_path.iterdir()) == [bag]


def test_the_old_bag_stays_if_the_new_one_cannot_take_its_place(tmp_path: Path, write_pairs: Any) -> None:
    bag = tmp_path / "b"
    write_pairs(bag, [1], [1])
    with pytest.raises(DatasetError, match="cannot write"), BagWriter(bag, overwrite=True) as writer:
        writer.add_topic("/x", COMPRESSED_IMAGE)
        (temporary,) = tmp_path.glob(".b.*")
        (temporary / "replaced bag").write_text("in the way")
    assert counts(bag) == 2
    assert list(tmp_path.iterdir()) == [bag]


def test_what_lies_on_the_disk_is_compared(tmp_path: Path, compressed: Any) -> None:
    with pytest.raises(DatasetError, match=r"cannot write .*/b"), BagWriter(tmp_path / "b") as writer:
        writer.write("/x", compressed(1), 1)
        writer.counts["/x"] = 2
    assert list(tmp_path.iterdir()) == []


def test_a_topic_has_one_type(tmp_path: Path, compressed: Any) -> None:
    with pytest.raises(DatasetError, match="would hold both"), BagWriter(tmp_path / "b") as writer:
        writer.write("/x", compressed(1), 1)
        writer.add_topic("/x", IMAGE)


def test_what_is_no_bag_folder_is_left_alone(tmp_path: Path, write_pairs: Any) -> None:
    """A folder that can be read as a bag, but has other things in it, is not replaced."""
    write_pairs(tmp_path / "b", [1], [1])
    (tmp_path / "b" / "metadata.yaml").unlink()
    with pytest.raises(DatasetError, match="not a bag folder"):
        check_output(tmp_path / "b", overwrite=True)
