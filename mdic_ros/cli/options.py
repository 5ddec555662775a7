"""Options that several commands have, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mdic_ros.cli.limits import number
from mdic_ros.datasets.layout import LAYOUTS, Layout
from mdic_ros.errors import MdicError


class UsageError(MdicError):
    """Options that do not go together, or do not fit the input. The command ends with exit code 2."""


LayoutOption = Annotated[
    Literal["auto", Layout],
    typer.Option(metavar="NAME", help=f"Layout of the recording: {', '.join(LAYOUTS)}; auto looks at its files."),
]
CamerasOption = Annotated[
    Literal["auto", "color", "gray"], typer.Option(help="KITTI: which pair; auto takes colour where there is colour.")
]
LeftOption = Annotated[str | None, typer.Option(metavar="TOPIC", help="Bag: image topic of the left camera.")]
RightOption = Annotated[str | None, typer.Option(metavar="TOPIC", help="Bag: image topic of the right camera.")]
SlopOption = Annotated[
    float, number("side_slop", metavar="SECONDS", help="Bag: largest time between two images of a pair.")
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
    int, number("threads", metavar="N", help="CPU threads; 0 = one for each core.", show_default=False)
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
