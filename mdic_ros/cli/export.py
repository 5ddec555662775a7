"""`mdic export`: the encoder's networks of a model as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdic_ros.cli.console import say


def export(
    bundle: Annotated[Path, typer.Argument(help="Folder of a model (a bundle), which gets the ONNX file.")],
) -> None:
    """Write the encoder's networks of a model as ONNX, which is what the robot runs.

    Training does so by itself. This is for models of version 0.1.0, and after a change by hand. Needs the libraries
    of training (pip install '.[train]' in the checkout). The model's fingerprint stays as it is.

    Example:

        mdic export my_model
    """
    from mdic_ros.extras import need

    need("train")
    from mdic_ros.codec import Bundle
    from mdic_ros.codec.onnx_export import export_encoder

    export_encoder(Bundle(bundle))
    say(f"{bundle} has its encoder as ONNX")
