"""Inputs and outputs of the commands: what may be written where, and how."""

from __future__ import annotations

import shlex
from pathlib import Path

from mdic_ros.cli.options import UsageError
from mdic_ros.errors import MdicError

#: A packet has a few hundred bytes; what is larger than this is not read as one.
_LARGEST_PACKET = 1 << 20


def is_image(path: Path) -> bool:
    """Whether a path is an image file, by its name or by its first bytes."""
    from mdic_ros.datasets.images import IMAGE_SUFFIXES, is_picture

    return path.is_file() and (path.suffix.lower() in IMAGE_SUFFIXES or is_picture(path))


def check_new_file(path: Path, force: bool, suffix: str = "", inputs: tuple[Path, ...] = ()) -> None:
    """Checks the name of a file to write, before any work is done.

    Args:
        path: the file.
        force: whether a file of this name may be replaced.
        suffix: what its name must end with, e.g. ".png".
        inputs: files that are read, and never written over.

    Raises:
        UsageError: it must not be written.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, the output is a file")
    if suffix and path.suffix.lower() != suffix:
        raise UsageError(f"{path}: the name of the output must end in {suffix}, e.g. {path.with_suffix(suffix).name}")
    for source in inputs:
        if path.exists() and source.exists() and path.samefile(source):
            raise UsageError(f"{path} is an input: choose another name for the output")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; choose another name, or --force to replace it")


def check_new_bag(path: Path, force: bool, source: Path) -> None:
    """Checks the name of a bag to write, before any work is done.

    Raises:
        UsageError: it would lie over the recording that is read, or inside a bag that is read; or it is there, and is
            not to be replaced.
    """
    from mdic_ros.datasets import DatasetError
    from mdic_ros.datasets.bag import is_bag
    from mdic_ros.datasets.bag_writer import check_output

    output, read = path.resolve(), source.resolve()
    if output == read or output in read.parents:
        raise UsageError(f"{path} holds the input: choose another name for the output")
    if read in output.parents and is_bag(source):
        raise UsageError(f"{path} lies inside the bag that is read: choose another place for the output")
    try:
        check_output(path, force)
    except DatasetError as error:
        raise UsageError(str(error)) from error


def check_new_folder(path: Path, force: bool, source: Path) -> None:
    """Checks a folder to write files into, before any work is done.

    Raises:
        UsageError: it is a file, not empty, or lies in the recording that is read or around it.
    """
    output, read = path.resolve(), source.resolve()
    if output == read or output in read.parents or read in output.parents:
        raise UsageError(f"{path} and {source} lie one inside the other: choose another place for the output")
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file, the output is a folder")
    if path.is_dir() and any(path.iterdir()) and not force:
        raise UsageError(f"{path} is not empty; choose another name, or --force to write into it")


def write_file(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all: under another name first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_packet(path: Path) -> bytes:
    """The bytes of a .mdic file; something much too large to be one is refused.

    Raises:
        UsageError: a folder, or a picture. MdicError: too large. OSError: cannot be read.
    """
    from mdic_ros.datasets.images import is_picture

    if path.is_dir():
        raise UsageError(f"{path} is neither a packet nor a recording of packets (a bag, with a metadata.yaml in it)")
    if is_picture(path):
        picture, packet = (shlex.quote(str(name)) for name in (path, path.with_suffix(".mdic").name))
        raise UsageError(
            f"{path} is a picture, not a packet. First: mdic encode {picture} {packet}; "
            f"then: mdic decode {packet} decoded.png --side OTHER_CAMERA.png"
        )
    size = path.stat().st_size
    if size > _LARGEST_PACKET:
        raise MdicError(f"{path} has {size} bytes, packets have a few hundred; is it one?")
    return path.read_bytes()
