"""Finds all recordings below a folder, for training or for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.registry import READERS, open_stereo

_TEST_SPLITS = ("testing", "test")


def find_recordings(path: Path, use: Literal["train", "test"]) -> list[Path]:
    """The recordings at or below a path, at any depth, in the order of their names. Hidden folders are left out.

    Benchmarks come in splits (KITTI stereo, Cityscapes). Where a benchmark has a split for testing and others, the
    first is for "test" only and the others are for "train" only.

    Raises:
        DatasetError: there is none; the message says what was looked for.
    """
    try:
        found = list(_below(path, use))
    except OSError as error:
        raise DatasetError(f"cannot read {error.filename or path}: {error.strerror}") from error
    if not found:
        open_stereo(path).close()  # says what is missing
        found = [path]
    return found


def _below(path: Path, use: Literal["train", "test"]) -> Iterator[Path]:
    found = [(reader, recording) for reader in READERS for recording in reader.find(path)]
    if splits := [recording for reader, recording in found if reader.splits]:
        chosen = [split for split in splits if (split.name in _TEST_SPLITS) == (use == "test")]
        yield from chosen or splits
    elif any(recording == path for _, recording in found):
        yield path
    elif path.is_dir():
        for inside in sorted(path.iterdir()):
            if not inside.name.startswith("."):
                yield from _below(inside, use)
