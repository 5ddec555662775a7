"""Image files in folders: finding them, pairing them by name, and the small text files beside them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.images import IMAGE_SUFFIXES, LFS_POINTER

log = logging.getLogger(__name__)

#: Most bytes of a text file. An hour of stamps at 30 Hz has 4 MB.
_MOST_TEXT = 64 << 20


class Unpaired(NamedTuple):
    """How many images of the two cameras have no partner, and are left out."""

    left: int = 0
    right: int = 0

    @property
    def total(self) -> int:
        """Both together."""
        return self.left + self.right


ALL_PAIRED = Unpaired()


class ImagePair(NamedTuple):
    """The two files of a frame, and the frame's name."""

    name: str
    left: Path
    right: Path


def is_lfs_pointer(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a pointer that Git LFS leaves in its place."""
    return head.startswith(LFS_POINTER)


def read_text(path: Path) -> str:
    """The text of a file, UTF-8 with damage replaced.

    Raises:
        DatasetError: missing, unreadable, too large, or a pointer of Git LFS.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_TEXT + 1)
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}; copy it from where the images came from") from error
    if len(data) > _MOST_TEXT:
        raise DatasetError(f"{path} has more than {_MOST_TEXT >> 20} MB, too much for such a file; look into it")
    if is_lfs_pointer(data[:64]):
        raise DatasetError(f"{path} is a pointer of Git LFS, the file itself is not here; fetch it with 'git lfs pull'")
    return data.decode("utf-8", "replace")


def places(path: Path) -> list[Path]:
    """A path as absolute path, with links followed and with links kept: either may have the right name or parent."""
    return list(dict.fromkeys((path.resolve(), Path(os.path.abspath(path)))))


def beside(path: Path, name: str) -> Path | None:
    """The file or folder of this name in the parent of a path, whichever way links lead; None if there is none."""
    return next((place.parent / name for place in places(path) if (place.parent / name).exists()), None)


def only(path: Path, found: list[Path], what: str, example: str) -> Path:
    """The one recording that was found.

    Raises:
        DatasetError: none, or several.
    """
    if not found:
        raise DatasetError(f"{path}: looked for {example}, found none; is it another folder, or another --layout?")
    if len(found) > 1:
        names = ", ".join(str(f.relative_to(path)) for f in found[:12])
        more = ", ..." if len(found) > 12 else ""
        raise DatasetError(f"{path} holds {len(found)} {what}, name one of them: {names}{more}")
    return found[0]


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts names as people do: 2 before 10."""
    return tuple((int(part), part) if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name))


def image_files(folder: Path) -> list[Path]:
    """Image files of a folder in natural order of their names; hidden files are left out."""
    found = (f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith("."))
    return sorted(found, key=lambda file: natural(file.name))


def by_name(files: Iterable[Path], name: Callable[[str], str] = str) -> dict[str, Path]:
    """Files by what `name` makes of their stems, in their order.

    Raises:
        DatasetError: two files get the same name.
    """
    images: dict[str, Path] = {}
    for path in files:
        key = name(path.stem)
        if key in images:
            raise DatasetError(
                f"{path.parent} has both {images[key].name} and {path.name}, one image too many; remove one of them"
            )
        images[key] = path
    return images


def pair_by_name(
    lefts: dict[str, Path], rights: dict[str, Path], left: Path, right: Path
) -> tuple[list[ImagePair], Unpaired]:
    """The pairs of two sets of files by name, in the order of the left one. A warning names what has no partner.

    Args:
        lefts, rights: files by name, see `by_name`.
        left, right: their folders, for messages.

    Raises:
        DatasetError: there is no pair.
    """
    for folder, images in ((left, lefts), (right, rights)):
        if not images:
            raise DatasetError(f"{folder} has no images ({', '.join(IMAGE_SUFFIXES)}); unpack or copy them there")
    pairs = [ImagePair(name, path, rights[name]) for name, path in lefts.items() if name in rights]
    alone = [path for name, path in lefts.items() if name not in rights]
    alone += [path for name, path in rights.items() if name not in lefts]
    if not pairs:
        raise DatasetError(
            f"{left} has {len(lefts)} images and {right} has {len(rights)}, but no two have the same name: "
            f"{next(iter(lefts.values())).name} and {next(iter(rights.values())).name}, for example. "
            "Rename them so that the two images of a pair have the same name or number"
        )
    unpaired = Unpaired(len(lefts) - len(pairs), len(rights) - len(pairs))
    if alone:
        log.warning(
            "%s and %s: %d left and %d right images have no partner of the same name and are left out, the first is %s",
            left,
            right,
            *unpaired,
            alone[0],
        )
    return pairs, unpaired


def pair_folders(left: Path, right: Path) -> tuple[list[ImagePair], Unpaired]:
    """`pair_by_name` of all images of two folders, by their whole names without suffix."""
    return pair_by_name(by_name(image_files(left)), by_name(image_files(right)), left, right)


def read_stamps(path: Path, parse: Callable[[str], int], needed: int) -> list[int]:
    """The stamps of a file, one a line in ns; images are numbered by the lines.

    Args:
        path: the file.
        parse: line to ns; raises ValueError.
        needed: how many stamps there must be, one more than the highest number of an image.

    Raises:
        DatasetError: unreadable, a line that is no stamp, or too few of them.
    """
    lines = read_text(path).rstrip().splitlines()
    empty = [number for number, line in enumerate(lines, 1) if not line.strip()]
    if empty and len(lines) - len(empty) == needed:
        log.warning("%s: line %d is empty and was skipped; there is a stamp for every image", path, empty[0])
        lines = [line for line in lines if line.strip()]
    elif empty:
        raise DatasetError(
            f"{path}, line {empty[0]} is empty: delete it if it is one too many, or put a time between those of its "
            "neighbours there if the stamp of an image is missing"
        )
    if len(lines) < needed:
        raise DatasetError(
            f"{path} has {len(lines)} lines, but there is an image with number {needed - 1}, whose stamp is line "
            f"{needed}; copy the file again from the archive that the images came from"
        )
    stamps = []
    for number, line in enumerate(lines, 1):
        try:
            stamps.append(parse(line))
        except ValueError as error:
            raise DatasetError(
                f"{path}, line {number}: {error}; correct it, or copy the file again from the archive"
            ) from error
    return stamps
