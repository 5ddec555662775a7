from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdic_ros.datasets import DatasetError, open_stereo
from mdic_ros.datasets.bag import BagReader
from mdic_ros.datasets.bag_writer import BagWriter, Storage
from mdic_ros.datasets.messages import BITSTREAM, make, make_header, peek_header, stamp_ns, typestore

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
        "no metadata": lambda: (path / "metadata.yaml").unlink(),
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
