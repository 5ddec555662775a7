"""`mdic pack`: stereo pairs and their captions in one small file, to train with on another machine.

A pack is a zip file, without compression, with the tree of a training folder: `stereo/FOLDER/DRIVE/left` and
`right` with WebP images, captions.jsonl, and pack.json, which says how it was made. Unpacked, it is a training folder.
"""

from __future__ import annotations

import bisect
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from mdic_ros.datasets import DatasetError
from mdic_ros.datasets.images import RGB
from mdic_ros.errors import ImageError
from mdic_ros.training.sources import Frame, TrainingData, captions_of, shrink

#: WebP qualities. Below the first one, a codec would learn WebP's blocks.
QUALITIES = range(50, 96)
_SAMPLED = 24  #: frames that the size is estimated from


@dataclass
class Packed:
    """What went into a pack."""

    pairs: int = 0
    drives: int = 0
    captions: int = 0
    bytes: int = 0
    quality: int = 0
    broken: list[str] = field(default_factory=list)  #: frames that were left out, one sentence each


def pack(
    paths: Sequence[Path],
    output: Path,
    *,
    folders: Sequence[str] = (),
    height: int = 256,
    max_bytes: int = 60_000_000,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Packed:
    """Packs training folders, recordings and other packs into one file, in the best quality that fits.

    Args:
        paths: whatever `TrainingData` reads; each recording becomes a drive in the folder `train`.
        output: file to write; appears whole or not at all.
        folders: of training folders and packs; none = those whose names start with "train".
        height: most rows; larger images are shrunk to this.
        max_bytes: of the file.
        progress: called with (pairs done, pairs in all); starts again if the first try was too large.

    Raises:
        DatasetError: no pairs, two drives of one name, or too many pairs for `max_bytes`.
    """
    with ExitStack() as stack, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        sources = [stack.enter_context(TrainingData(path)) for path in paths]
        frames: list[Frame] = []
        rows = []
        for source in sources:
            chosen = [f for f in source.frames if _is_chosen(f.folder, folders)]
            twice = {(f.folder, f.drive) for f in frames} & {(f.folder, f.drive) for f in chosen}
            if twice:
                folder, drive = sorted(twice)[0]
                raise DatasetError(f"{source.path}: {folder} has a drive {drive} already; rename one of the two")
            frames += chosen
            rows += captions_of(chosen, source.captions)
        if not frames:
            raise DatasetError(f"there are no stereo pairs to pack in the folders {', '.join(folders) or 'train*'}")
        captions = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()

        output.parent.mkdir(parents=True, exist_ok=True)
        part = output.with_name(f".{output.name}.part")
        try:
            best = _best_quality(frames, height, max_bytes - len(captions), pool)
            for quality in range(best, QUALITIES[0] - 1, -2):  # the estimate may be a little off
                packed = Packed(captions=len(rows), quality=quality)
                written = _encoded(frames, height, quality, pool, packed)
                with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
                    for done, (frame, images) in enumerate(written, 1):
                        for view, data in zip(("left", "right"), images, strict=True):
                            _add(archive, f"stereo/{frame.folder}/{frame.drive}/{view}/{frame.name}.webp", data)
                        progress(done, len(frames))
                    head = {"version": 1, "height": height, "quality": quality, "pairs": packed.pairs}
                    _add(archive, "captions.jsonl", captions)
                    _add(archive, "pack.json", json.dumps(head).encode())
                packed.bytes = part.stat().st_size
                if packed.bytes <= max_bytes and packed.pairs:
                    part.replace(output)
                    packed.drives = len({(frame.folder, frame.drive) for frame in frames})
                    return packed
        finally:
            part.unlink(missing_ok=True)
    raise DatasetError(_too_many(len(frames), max_bytes))


def _is_chosen(folder: str, folders: Sequence[str]) -> bool:
    return folder in folders if folders else folder.startswith("train")


def _best_quality(frames: Sequence[Frame], height: int, max_bytes: int, pool: ThreadPoolExecutor) -> int:
    """The best quality that fits, by the size of some frames.

    Raises:
        DatasetError: none fits, or these frames are all damaged.
    """
    images, problem = [], None
    for frame in frames[:: max(1, len(frames) // _SAMPLED)]:
        try:
            images += [shrink(image, height) for image in frame.load()]
        except ImageError as error:
            problem = error
    if problem and not images:
        raise problem

    def too_large(quality: int) -> bool:
        sizes = pool.map(lambda image: len(_webp(image, quality)), images)
        return sum(sizes) / len(images) * 2 * len(frames) > max_bytes

    fitting = bisect.bisect_left(QUALITIES, True, key=too_large)
    if not fitting:
        raise DatasetError(_too_many(len(frames), max_bytes))
    return QUALITIES[fitting - 1]


def _too_many(pairs: int, max_bytes: int) -> str:
    return (
        f"{pairs} pairs do not fit into {max_bytes / 1e6:.3g} MB at quality {QUALITIES[0]}; "
        "raise --max-mb, lower --height, or pack fewer recordings"
    )


def _encoded(
    frames: Sequence[Frame], height: int, quality: int, pool: ThreadPoolExecutor, packed: Packed
) -> Iterator[tuple[Frame, tuple[bytes, bytes]]]:
    """The frames with the files of their two images; counts them, and notes those that are damaged."""

    def encode(frame: Frame) -> tuple[bytes, bytes] | str:
        try:
            left, right = frame.load()
        except ImageError as error:
            return str(error)
        return _webp(shrink(left, height), quality), _webp(shrink(right, height), quality)

    for frame, images in zip(frames, pool.map(encode, frames), strict=True):
        if isinstance(images, str):
            packed.broken.append(images)
        else:
            packed.pairs += 1
            yield frame, images


def _webp(image: RGB, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    # With a fixed date, so that the same data give the same file.
    archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
