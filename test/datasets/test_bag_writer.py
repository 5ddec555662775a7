from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mdic_ros.datasets import DatasetError, open_stereo
from mdic_ros.datasets.bag_writer import BagWriter, Storage
from mdic_ros.datasets.messages import COMPRESSED_IMAGE

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
