"""`mdic pack`: stereo pairs and their captions in one file, for training elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdic_ros.cli.console import report_failures, say
from mdic_ros.cli.files import check_new_file
from mdic_ros.cli.limits import number
from mdic_ros.cli.options import ForceOption


def pack(
    data: Annotated[list[Path], typer.Argument(help="Training folders, recordings, folders of them, other packs.")],
    output: Annotated[Path, typer.Argument(help="The pack, a .zip file.")],
    height: Annotated[int, number("height", help="Images with more rows are shrunk to N rows.")] = 256,
    max_mb: Annotated[float, number("max_mb", help="Size of the file, at most, in megabytes.")] = 60.0,
    folder: Annotated[
        list[str] | None,
        typer.Option(help="Folder below DATA/stereo, repeatable; without it, those whose names start with train."),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Pack stereo pairs and their captions into one file of limited size, for `mdic train --data`.

    Each recording becomes a drive. The images are WebP in the best quality that fits. Unpacked (it is a zip file), it
    is a training folder. Captions (sentences that say what the left images show) come from captions.jsonl beside the
    data: one line {"source": drive, "name": file stem, "caption": "..."} for each pair.

    Examples:

        mdic pack DATA pairs.zip                        (DATA/stereo/train*/DRIVE/left and right, DATA/captions.jsonl)

        mdic pack 2011_09_26 drive5 pairs.zip --height 320 --max-mb 200      (KITTI's day, and a bag)
    """
    check_new_file(output, force, ".zip", tuple(data))
    from mdic_ros.extras import need

    need("train")
    from mdic_ros.progress import Progress
    from mdic_ros.training.pack import pack as write_pack

    with Progress(f"packing {output.name}", "pairs") as progress:
        packed = write_pack(
            data, output, folders=folder or (), height=height, max_bytes=round(max_mb * 1e6), progress=progress
        )
    report_failures(packed.broken)
    say(
        f"{output}: {packed.pairs} pairs of {packed.drives} drives, {packed.captions} captions, "
        f"{packed.bytes / 1e6:.1f} MB at quality {packed.quality}"
    )
    if packed.captions < packed.pairs:
        what = "none of the pairs has" if not packed.captions else f"{packed.pairs - packed.captions} pairs do not have"
        say(
            f"warning: {what} a caption. `mdic train all` and `mdic train captioner` need captions: write "
            "captions.jsonl into DATA (see above: mdic pack --help) and pack again"
        )
