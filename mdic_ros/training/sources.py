"""Where training pairs come from: a training folder, a pack of it, or any recording that this package reads.

    DATA/stereo/FOLDER/DRIVE/left/NAME.png, right/NAME.png     a training folder; FOLDER tells kinds of data apart
    PACK.zip                                                   the same tree in one file, see `pack`
    KITTI, Cityscapes, bags, left/ and right/                  each recording at or below the path is a drive of `train`

captions.jsonl beside them has one line {"source": DRIVE, "name": NAME, "caption": "...", "tags": ["car", ...]} a pair.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from mdic_ros.datasets import DatasetError, StereoSource, find_recordings, open_stereo
from mdic_ros.datasets.images import IMAGE_SUFFIXES, MAX_PIXELS, RGB, read_image, read_image_bytes
from mdic_ros.errors import ImageError
from mdic_ros.progress import Progress
from mdic_ros.training.data import Pair, disparities
from mdic_ros.training.stream import worker_threads

#: Most bytes of pixels that the images of a pack may have; a file of a few MB could ask for any amount of memory.
MOST_PIXEL_BYTES = 4 << 30
#: Most bytes of a captions file.
_MOST_CAPTION_BYTES = 64 << 20
_PACKED = re.compile(r"stereo/([^/\\]+)/([^/\\]+)/(left|right)/([^/\\]+)\.webp")


class Frame(NamedTuple):
    """A stereo pair that is not loaded yet."""

    folder: str
    drive: str
    name: str
    load: Callable[[], tuple[RGB, RGB]]  #: left and right image; raises ImageError; safe in several threads


class TrainingData:
    """Frames in order of folder, drive and time, and captions; a context manager that closes what is open.

    Args:
        path: see the module.
        hold_out: validation drives that replace those of the stages' YAMLs; none = as in the YAMLs.
        cache: file to keep disparities in (.npz, about 0.9 MB a pair of 256x848), so that a run that goes on need not
            match them again; none = they are not kept.

    Raises:
        DatasetError: nothing usable there, or a pack that is damaged or not what it should be.
    """

    def __init__(self, path: Path, hold_out: Sequence[str] = (), cache: Path | None = None) -> None:
        self.path, self.hold_out, self.cache = path, tuple(hold_out), cache
        self._open: list[Any] = []
        if not path.exists():
            raise DatasetError(f"{path}: no such file or folder")
        if path.is_file() and zipfile.is_zipfile(path):
            self.frames, self.captions = self._pack()
        else:
            self.frames = _folder(path) if (path / "stereo").is_dir() else self._recordings()
            self.captions = read_captions(path / "captions.jsonl")
        if not self.frames:
            raise DatasetError(f"{path}: no stereo pairs in it, looked for stereo/FOLDER/DRIVE/left and right")
        self._pairs: dict[tuple[tuple[str, ...], int], list[Pair]] = {}

    def pairs(self, folders: Sequence[str], height: int, *, match: bool = False) -> list[Pair]:
        """The pairs of some folders, in memory; loaded once, however many stages ask.

        Args:
            folders: those that are not there are passed over.
            height: most rows; larger images are shrunk to this.
            match: compute disparities, too: about a fifth of a second a pair and core.

        Raises:
            DatasetError: there is no pair in these folders, or an image is damaged.
        """
        key = (tuple(folders), height)
        with ThreadPoolExecutor(worker_threads() + 1) as pool:
            if key not in self._pairs:
                frames = [frame for frame in self.frames if frame.folder in folders]
                if not frames:
                    there = ", ".join(sorted({frame.folder for frame in self.frames}))
                    raise DatasetError(
                        f"{self.path}: no stereo pairs in {', '.join(folders)}; its folders are {there}: "
                        "name them under data.folders of the YAML"
                    )
                captions = {(row["source"], row["name"]): row for row in self.captions}

                def load(frame: Frame) -> Pair:
                    left, right = (Image.fromarray(shrink(image, height)) for image in frame.load())
                    row = captions.get((frame.drive, frame.name), {})
                    caption, tags = row.get("caption", ""), tuple(row.get("tags", ()))
                    return Pair(frame.drive, frame.name, left, right, caption, tags, folder=frame.folder)

                self._pairs[key] = _all(pool.map(load, frames), len(frames), "reading pairs")
            pairs = self._pairs[key]
            if match and pairs[0].disparity is None:
                known = _read_disparities(self.cache)

                def matched(pair: Pair) -> Pair:
                    found = known.get(_disparity_key(pair))
                    if found is None or found.shape != (2, pair.left.height, pair.left.width):
                        found = np.stack(disparities(pair.left, pair.right))
                    return replace(pair, disparity=(found[0], found[1]))

                self._pairs[key] = pairs = _all(pool.map(matched, pairs), len(pairs), "matching pairs")
                if self.cache is not None and any(_disparity_key(pair) not in known for pair in pairs):
                    _write_disparities(self.cache, pairs)
        return pairs

    def _recordings(self) -> list[Frame]:
        frames: list[Frame] = []
        for recording in find_recordings(self.path, "train"):
            source = open_stereo(recording)
            self._open.append(source)
            drive = _drive_name(self.path, source.path)
            if any(frame.drive == drive for frame in frames):
                raise DatasetError(f"{self.path}: two recordings would be called {drive}; rename one")
            names = [frame.name for frame in source]
            if names != sorted(set(names)) or not all(re.fullmatch(r"[\w.+-]+", name) for name in names):
                names = [f"{index:06d}" for index in range(len(source))]  # so that names sort by time
            frames += [Frame("train", drive, name, _loader(source, i)) for i, name in enumerate(names)]
        return frames

    def _pack(self) -> tuple[list[Frame], list[dict[str, Any]]]:
        try:
            archive = zipfile.ZipFile(self.path)
            self._open.append(archive)
            return _packed_frames(self.path, archive)
        except DatasetError:
            raise
        except Exception as error:  # zipfile reports damage with whatever it meets
            raise DatasetError(f"{self.path} is damaged: {error}; copy or pack it again") from error

    def close(self) -> None:
        """Closes files; pairs that are loaded stay."""
        for item in self._open:
            item.close()

    def __enter__(self) -> TrainingData:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _all(items: Iterable[Pair], count: int, what: str) -> list[Pair]:
    """The items as a list; shows how far it is while they come, in the main process."""
    found: list[Pair] = []
    with Progress(what, "pairs", hidden=os.environ.get("RANK", "0") != "0") as progress:
        for item in items:
            found.append(item)
            progress(len(found), count)
    return found


# --- disparities --------------------------------------------------------------------------------------------


def _disparity_key(pair: Pair) -> str:
    return f"{pair.folder}/{pair.drive}/{pair.name}/{pair.left.width}x{pair.left.height}"


def _read_disparities(cache: Path | None) -> dict[str, npt.NDArray[np.float16]]:
    """What is kept, (2, H, W) by key; nothing if the file is missing or damaged: all can be computed again."""
    if cache is None or not cache.is_file():
        return {}
    try:
        with np.load(cache, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return {}
    return {name: value for name, value in found.items() if value.dtype == np.float16}


def _write_disparities(cache: Path, pairs: Iterable[Pair]) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_suffix(f".{os.getpid()}.partial.npz")  # every process of a run may write one
    with zipfile.ZipFile(partial, "w") as archive:  # as numpy.savez, but without all of it in memory twice
        for pair in pairs:
            if pair.disparity is not None:
                with archive.open(f"{_disparity_key(pair)}.npy", "w") as file:
                    np.lib.format.write_array(file, np.stack(pair.disparity), allow_pickle=False)
    partial.replace(cache)


def shrink(image: RGB, height: int) -> RGB:
    """Resized to `height` rows in the same proportions, or as it is if it has no more."""
    if image.shape[0] <= height:
        return image
    size = (max(1, round(image.shape[1] * height / image.shape[0])), height)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


# --- captions -----------------------------------------------------------------------------------------------


def read_captions(path: Path) -> list[dict[str, Any]]:
    """The rows of a captions file, in its order; none if there is no such file.

    Raises:
        DatasetError: a line is not a caption.
    """
    if not path.is_file():
        return []
    return parse_captions(path.read_bytes(), str(path))


def parse_captions(data: bytes, where: str) -> list[dict[str, Any]]:
    """Rows with `source`, `name` and `caption`, text, and `tags`, a list of text; what else a line says is dropped.

    Raises:
        DatasetError: a line is not a caption.
    """
    rows = []
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            row = {"source": row["source"], "name": row["name"], "caption": row["caption"], "tags": row.get("tags", [])}
            if not isinstance(row["tags"], list):
                raise TypeError("tags must be a list")
            if not all(isinstance(text, str) for text in (row["source"], row["name"], row["caption"], *row["tags"])):
                raise TypeError("source, name, caption and each of tags must be text")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DatasetError(
                f"{where}, line {number}: not a line like "
                f'{{"source": drive, "name": file stem, "caption": "...", "tags": ["car"]}} ({error})'
            ) from error
        rows.append(row)
    return rows


# --- training folders ---------------------------------------------------------------------------------------


def _folder(path: Path) -> list[Frame]:
    frames = []
    for left in sorted((path / "stereo").glob("*/*/left/*")):
        right = left.parent.parent / "right" / left.name
        if left.suffix.lower() in IMAGE_SUFFIXES and right.is_file():
            drive = left.parent.parent
            frames.append(Frame(drive.parent.name, drive.name, left.stem, _file_loader(left, right)))
    return frames


def _file_loader(left: Path, right: Path) -> Callable[[], tuple[RGB, RGB]]:
    return lambda: _of_one_size(read_image(left), read_image(right), str(left))


def _of_one_size(left: RGB, right: RGB, name: str) -> tuple[RGB, RGB]:
    if left.shape != right.shape:
        raise ImageError(f"{name}: left and right have different sizes; rectify them to one size")
    return left, right


# --- recordings ---------------------------------------------------------------------------------------------


def _drive_name(root: Path, recording: Path) -> str:
    """The path of a recording below the root, as one name."""
    parts = recording.resolve().relative_to(root.resolve()).parts if recording != root else ()
    name = "_".join(parts) or root.resolve().name
    return re.sub(r"[^\w.+-]+", "_", name.removesuffix(".mcap").removesuffix(".db3")).lstrip(".") or "drive"


def _loader(source: StereoSource, index: int) -> Callable[[], tuple[RGB, RGB]]:
    def load() -> tuple[RGB, RGB]:
        frame = source[index]
        frame.check()
        return frame.left, frame.right

    return load


# --- packs --------------------------------------------------------------------------------------------------


def _packed_frames(path: Path, archive: zipfile.ZipFile) -> tuple[list[Frame], list[dict[str, Any]]]:
    """Frames and captions of a pack. Names, sizes and pixels are checked: a pack may come from anywhere."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.orig_filename  # `filename` ends at the first NUL
        if name not in ("pack.json", "captions.jsonl") and not _fits(name):
            raise DatasetError(f"{path}: it holds {name!r}, so it was not made by `mdic pack`")
        if name in entries:
            raise DatasetError(f"{path}: it holds {name} twice; pack it again")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise DatasetError(f"{path}: {name} is compressed or encrypted; make it with `mdic pack`")
        entries[name] = entry
    if sum(entry.file_size for entry in entries.values()) > path.stat().st_size:
        raise DatasetError(f"{path}: its parts are larger than the file; copy it again")
    if "pack.json" not in entries:
        raise DatasetError(f"{path} has no pack.json; make it with `mdic pack`")
    head = json.loads(_small(archive, entries["pack.json"], 1 << 16))
    if not isinstance(head, dict) or head.get("version") != 1:
        raise DatasetError(f"{path}: made by another version of this package; pack it again")

    frames, pixels = [], 0
    for name in sorted(entries):
        match = _PACKED.fullmatch(name)
        if match is None or match[3] != "left":
            continue
        other = f"stereo/{match[1]}/{match[2]}/right/{match[4]}.webp"
        if other not in entries:
            raise DatasetError(f"{path}: {name} has no right image; pack it again")
        sizes = [_image_size(path, archive, entries[n]) for n in (name, other)]
        if sizes[0] != sizes[1]:
            raise DatasetError(f"{path}: the two views of {name} have different sizes; pack it again")
        pixels += 2 * sizes[0][0] * sizes[0][1]
        if 3 * pixels > MOST_PIXEL_BYTES:
            raise DatasetError(f"{path}: its images take more than {MOST_PIXEL_BYTES >> 30} GiB of memory")
        frames.append(Frame(match[1], match[2], match[4], _packed_loader(path, archive, name, other)))
    captions = b""
    if "captions.jsonl" in entries:
        captions = _small(archive, entries["captions.jsonl"], _MOST_CAPTION_BYTES)
    return frames, parse_captions(captions, f"{path}, captions.jsonl")


def _fits(name: str) -> bool:
    match = _PACKED.fullmatch(name)
    return match is not None and name.isprintable() and not {".", ".."} & {match[1], match[2], match[4]}


def _small(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    if entry.file_size > most:
        raise DatasetError(f"{archive.filename}: {entry.filename} has {entry.file_size} bytes, more than it may")
    return archive.read(entry)


def _image_size(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[int, int]:
    """(height, width) from the head of a packed image."""
    try:
        with Image.open(io.BytesIO(archive.read(entry)), formats=("WEBP",)) as image:
            if not 0 < image.width * image.height <= MAX_PIXELS:
                raise DatasetError(f"{path}: {entry.filename} is {image.height}x{image.width}, more than may be")
            return image.height, image.width
    except DatasetError:
        raise
    except Exception as error:
        raise DatasetError(f"{path}: {entry.filename} is damaged ({error}); copy or pack it again") from error


def _packed_loader(path: Path, archive: zipfile.ZipFile, left: str, right: str) -> Callable[[], tuple[RGB, RGB]]:
    def load() -> tuple[RGB, RGB]:
        one, other = (read_image_bytes(archive.read(name), f"{path}, {name}") for name in (left, right))
        return _of_one_size(one, other, f"{path}, {left}")

    return load


def captions_of(frames: Iterable[Frame], captions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that belong to some of the frames."""
    wanted = {(frame.drive, frame.name) for frame in frames}
    return [row for row in captions if (row["source"], row["name"]) in wanted]
