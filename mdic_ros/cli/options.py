"""Options that several commands have, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mdic_ros.codec.threads import MAX_THREADS
from mdic_ros.errors import MdicError


class UsageError(MdicError):
    """Options that do not go together, or do not fit the input. The command ends with exit code 2."""


LayoutOption = Annotated[
    str,
    typer.Option(metavar="NAME", help="Layout of the recording: auto looks at its files; a wrong name lists them all."),
]
CamerasOption = Annotated[
    Literal["auto", "color", "gray"], typer.Option(help="KITTI: which pair; auto takes colour where there is colour.")
]
LeftOption = Annotated[str | None, typer.Option(metavar="TOPIC", help="Bag: image topic of the left camera.")]
RightOption = Annotated[str | None, typer.Option(metavar="TOPIC", help="Bag: image topic of the right camera.")]
SlopOption = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="Bag: largest time between two images of a pair.")
]
RectifyImagesOption = Annotated[
    bool | None,
    typer.Option(
        help="What to do with images whose calibration says that they are not rectified (the same point of a scene is "
        "not in the same row of both): rectify them, or take them as they are. Without either they are refused.",
        show_default=False,
    ),
]
StorageOption = Annotated[Literal["mcap", "sqlite3"], typer.Option(help="File format of the bag that is written.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the output if it is there already.")]
ModelOption = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Folder of the model (a bundle); without it, the one that ships.")
]
DeviceOption = Annotated[str, typer.Option(help="Where the networks run: cpu, cuda, cuda:1 ...")]
ThreadsOption = Annotated[
    int,
    typer.Option(
        min=0, max=MAX_THREADS, metavar="N", help="CPU threads; 0 = one for each core.", show_default=False
    ),
]
SizeOption = Annotated[
    str | None, typer.Option(metavar="HxW", help="Resize to height x width first, e.g. 128x256 (128 rows).")
]


def source_options(
    layout: str,
    cameras: str,
    left_topic: str | None,
    right_topic: str | None,
    side_slop: float,
    rectify_images: bool | None,
) -> dict[str, Any]:
    """The options that say how a recording is read, as `mdic_ros.datasets.open_stereo` names them."""
    return {
        "layout": layout,
        "cameras": cameras,
        "left_topic": left_topic,
        "right_topic": right_topic,
        "slop_s": side_slop,
        "rectify_images": rectify_images,
    }


def parse_size(text: str, option: str = "--size") -> tuple[int, int]:
    """(height, width) of text like "128x256".

    Raises:
        BadParameter: it is not like that.
    """
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise typer.BadParameter(f"'{text}' is not a size like 128x256 (height x width)", param_hint=option)
    return int(height), int(width)


def parse_steps(text: str) -> tuple[int, ...]:
    """Numbers of steps, rising, of text like "1,2,4".

    Raises:
        BadParameter: it is not like that.
    """
    parts = text.split(",")
    if not all(part.strip().isdecimal() and 1 <= int(part) <= 1000 for part in parts):
        raise typer.BadParameter(f"'{text}' is not a list of steps like 1,2,4 (1 to 1000 each)", param_hint="--steps")
    return tuple(sorted({int(part) for part in parts}))
