"""`mdic info`: what a packet, a model or a bag holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdic_ros.cli.options import UsageError


def info(path: Annotated[Path, typer.Argument(help="A packet (.mdic), a folder of a model, or a bag.")]) -> None:
    """Say what a packet, a model (a bundle) or a bag holds, and how far a model was trained. Sizes are height x width.

    Examples:

        mdic info left.mdic

        mdic info models/mdic_tiny

        mdic info coded
    """
    from mdic_ros.cli.describe import describe_bag, describe_bundle, describe_packet
    from mdic_ros.datasets.bag import is_bag
    from mdic_ros.training.history import describe_history, read_history

    if is_bag(path):
        describe_bag(path)
    elif (path / "model_index.json").is_file():
        describe_bundle(path)
        for line in describe_history(read_history(path)):
            typer.echo(line)
    elif path.is_dir():
        raise UsageError(f"{path} is neither a model (no model_index.json in it) nor a bag (no metadata.yaml)")
    else:
        describe_packet(path)
