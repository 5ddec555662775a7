"""Packs: what goes in comes out, in one file that is small enough; and nothing in a hostile one is believed."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdic_ros.datasets import DatasetError, open_stereo, write_bag
from mdic_ros.training.pack import pack
from mdic_ros.training.sources import TrainingData, shrink


@pytest.fixture(scope="module")
def packed(training_folder, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "pairs.zip"
    pack([training_folder], path, height=100)
    return path


def psnr(one: Image.Image, other: np.ndarray) -> float:
    error = np.asarray(one, np.float64) - other
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def test_a_pack_holds_what_the_folder_holds(training_folder, packed):
    with TrainingData(training_folder) as folder, TrainingData(packed) as data:
        assert data.captions == folder.captions
        ours, theirs = data.pairs(["train"], 256), folder.pairs(["train"], 256)
    assert len(ours) == 10
    for one, other in zip(ours, theirs, strict=True):
        assert (one.drive, one.name, one.caption, one.tags) == (other.drive, other.name, other.caption, other.tags)
        assert one.left.size == (200, 100)
        for view, original in ((one.left, other.left), (one.right, other.right)):
            assert psnr(view, shrink(np.asarray(original), 100)) > 35


def test_unpacked_it_is_a_training_folder(packed, tmp_path):
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "data")
    with TrainingData(tmp_path / "data") as folder, TrainingData(packed) as data:
        assert folder.captions == data.captions
        for one, other in zip(folder.pairs(["train"], 256), data.pairs(["train"], 256), strict=True):
            assert (one.drive, one.name) == (other.drive, other.name)
            assert np.array_equal(np.asarray(one.left), np.asarray(other.left))


def test_the_best_quality_that_fits(training_folder, packed, tmp_path):
    whole = packed.stat().st_size
    small = pack([training_folder], tmp_path / "small.zip", height=100, max_bytes=round(0.75 * whole))
    assert small.bytes == (tmp_path / "small.zip").stat().st_size <= 0.75 * whole
    assert 50 <= small.quality < 95 and small.pairs == 10 and small.drives == 2 and small.captions == 10
    with pytest.raises(DatasetError, match=r"10 pairs do not fit.*--max-mb"):
        pack([training_folder], tmp_path / "none.zip", max_bytes=3000)
    assert not (tmp_path / "none.zip").exists() and not list(tmp_path.glob(".*"))


def test_the_same_data_give_the_same_file(training_folder, packed, tmp_path):
    pack([training_folder], tmp_path / "again.zip", height=100)
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def test_folders_are_chosen_and_damage_is_left_out(training_folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(training_folder, data)
    shutil.copytree(data / "stereo" / "train" / "drive_a", data / "stereo" / "dev" / "drive_d")
    (data / "stereo" / "train" / "drive_a" / "right" / "3.png").write_bytes(b"no image")
    default = pack([data], tmp_path / "default.zip")
    assert (default.pairs, default.drives) == (9, 2)
    assert len(default.broken) == 1 and "drive_a/right/3.png" in default.broken[0]
    assert pack([data], tmp_path / "dev.zip", folders=["dev"]).pairs == 5
    with pytest.raises(DatasetError, match="no stereo pairs to pack in the folders absent"):
        pack([data], tmp_path / "none.zip", folders=["absent"])
    with pytest.raises(DatasetError, match="train has a drive drive_a already"):
        pack([data, training_folder], tmp_path / "twice.zip")


def test_recordings_are_drives(training_folder, tmp_path):
    """A bag and two plain folders beside one another: each is a drive, in time's order."""
    drives = tmp_path / "drives"
    for name in ("drive_a", "drive_b"):
        shutil.copytree(training_folder / "stereo" / "train" / name, drives / name)
    with open_stereo(drives / "drive_a") as source:
        write_bag(source, drives / "a_bag")
    (drives / "notes").mkdir()
    with TrainingData(drives) as data:
        assert {frame.drive for frame in data.frames} == {"a_bag", "drive_a", "drive_b"}
        pairs = data.pairs(["train"], 75)
    assert pairs[0].left.size == (150, 75) and len(pairs) == 15
    bag, folder = ([pair for pair in pairs if pair.drive == name] for name in ("a_bag", "drive_a"))
    for one, other in zip(bag, folder, strict=True):
        assert np.array_equal(np.asarray(one.right), np.asarray(other.right))
    assert pack([drives / "a_bag", training_folder], tmp_path / "both.zip").drives == 3
    (drives / "drive_b" / "right" / "2.png").unlink()
    with TrainingData(drives) as data:  # what has no partner is left out with a warning
        assert len(data.frames) == 14
    with pytest.raises(DatasetError, match="not a recording of a known layout"):
        TrainingData(drives / "notes")
    with pytest.raises(DatasetError, match="no such file"):
        TrainingData(drives / "absent")


def test_test_splits_are_for_testing(training_folder, tmp_path):
    image = training_folder / "stereo" / "train" / "drive_a" / "left" / "0.png"
    for folder in [tmp_path / split / camera for split in ("training", "testing") for camera in ("image_2", "image_3")]:
        folder.mkdir(parents=True)
        for frame in (10, 11):
            shutil.copy(image, folder / f"000000_{frame}.png")
    for path, wanted in ((tmp_path, {"training"}), (tmp_path / "testing", {"testing"})):
        with TrainingData(path) as data:
            assert {frame.drive for frame in data.frames} == wanted


def test_folders_that_are_not_there_are_named(training_folder):
    with pytest.raises(DatasetError, match="no stereo pairs in train_grey; its folders are train"):
        TrainingData(training_folder).pairs(["train_grey"], 256)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "3",
        "[]",
        '{"source": "a"}',
        '{"source": "a", "name": "b", "caption": 3}',
        '{"source": "a", "name": "b", "caption": "c", "tags": "car"}',
        "[" * 100_000,
    ],
)
def test_captions_that_are_none_are_refused(training_folder, tmp_path, line):
    shutil.copytree(training_folder, tmp_path / "data")
    with (tmp_path / "data" / "captions.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DatasetError, match=r"captions.jsonl, line 11: not a line like"):
        TrainingData(tmp_path / "data")


# --- hostile packs ------------------------------------------------------------------------------------------

LEFT, RIGHT = "stereo/train/a/left/0.webp", "stereo/train/a/right/0.webp"


def webp(width: int = 64, height: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "WEBP")
    return buffer.getvalue()


def write(path: Path, entries: dict[str, bytes], head: object = None, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("pack.json", json.dumps({"version": 1} if head is None else head))
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def test_a_pack_by_hand_is_read(tmp_path):
    path = write(tmp_path / "a.zip", {LEFT: webp(), RIGHT: webp()})
    with TrainingData(path) as data:
        assert [pair.left.size for pair in data.pairs(["train"], 256)] == [(64, 64)]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({LEFT: webp()}, "no right image"),
        ({LEFT: webp(), RIGHT: webp(64, 32)}, "different sizes"),
        ({LEFT: webp(), RIGHT: b"RIFF"}, "is damaged"),
        ({LEFT: b"\x89PNG\r\n\x1a\n", RIGHT: webp()}, "is damaged"),
        ({"../../etc/passwd": b""}, "not made by `mdic pack`"),
        ({"/etc/passwd": b""}, "not made by `mdic pack`"),
        ({"stereo/train/../left/0.webp": b""}, "not made by `mdic pack`"),
        ({"stereo/../a/left/0.webp": b""}, "not made by `mdic pack`"),
        ({"stereo/train/a/left/...webp": b""}, "not made by `mdic pack`"),
        ({"stereo/train/a/left/\x1b[2J.webp": b""}, "not made by `mdic pack`"),
        ({"stereo/train/a\\..\\b/left/0.webp": b""}, "not made by `mdic pack`"),
        ({"evil.pkl": b"cos\nsystem\n"}, "not made by `mdic pack`"),
        ({"captions.jsonl": b"3"}, "captions.jsonl, line 1"),
        ({}, "no stereo pairs"),
    ],
)
def test_packs_that_are_not_what_they_should_be(tmp_path, entries, message):
    with pytest.raises(DatasetError, match=message):
        TrainingData(write(tmp_path / "a.zip", entries))


def test_heads_and_forms_of_zip_that_are_refused(tmp_path):
    good = {LEFT: webp(), RIGHT: webp()}
    for number, head in enumerate(({"version": 2}, [], "x")):
        with pytest.raises(DatasetError, match="another version"):
            TrainingData(write(tmp_path / f"{number}.zip", good, head))
    with pytest.raises(DatasetError, match="is compressed"):
        TrainingData(write(tmp_path / "deflated.zip", good, method=zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(tmp_path / "headless.zip", "w") as archive:
        archive.writestr(LEFT, webp())
    with pytest.raises(DatasetError, match=r"no pack.json"):
        TrainingData(tmp_path / "headless.zip")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        for _ in range(2):
            archive.writestr(LEFT, webp())
    with pytest.raises(DatasetError, match="twice"):
        TrainingData(tmp_path / "twice.zip")


def test_pixels_are_counted_before_they_are_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("mdic_ros.training.sources.MOST_PIXEL_BYTES", 3 * 2 * 64 * 64)
    write(tmp_path / "a.zip", {LEFT: webp(), RIGHT: webp()})
    TrainingData(tmp_path / "a.zip").close()
    write(tmp_path / "b.zip", {LEFT: webp(64, 65), RIGHT: webp(64, 65)})
    with pytest.raises(DatasetError, match="memory"):
        TrainingData(tmp_path / "b.zip")


def test_damage_anywhere_is_an_error_of_ours(packed, tmp_path):
    """Bytes changed or missing: either nobody notices (pixels), or it is said in one way."""
    whole, rng = packed.read_bytes(), np.random.default_rng(0)
    for number in range(40):
        data = bytearray(whole)
        if number % 4 == 0:
            data = data[: rng.integers(len(data))]
        else:
            tail = int(rng.integers(22, 2000)) if number % 2 else len(data)
            for place in rng.integers(len(data) - tail, len(data), 3):
                data[place] = rng.integers(256)
        (tmp_path / "damaged.zip").write_bytes(data)
        try:
            with TrainingData(tmp_path / "damaged.zip") as found:
                found.pairs(["train"], 64)
        except DatasetError as error:
            assert "damaged.zip" in str(error)
