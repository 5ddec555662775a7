"""Reads the prior of a bundle, without PyTorch: robot and workstation code with the same numbers."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

import safetensors.numpy

from mdic_ros.models.entropy.exact import ExactPrior, PriorError
from mdic_ros.models.entropy.schedule import PriorSizes


def load_prior(folder: str | PathLike[str]) -> ExactPrior:
    """Reads the entropy_model folder of a bundle.

    Raises:
        PriorError: the folder has no readable configuration and weights, or they cannot be evaluated exactly.
    """
    try:
        values = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        sizes = PriorSizes(
            **{name: values[name] for name in ("codebook_size", "dim", "num_heads", "num_layers", "token_dim")},
            grids=tuple(values["grids"]),
            groups=tuple(values["groups"]),
            window=tuple(values["window"]),
        )
        weights = safetensors.numpy.load_file(Path(folder) / "diffusion_pytorch_model.safetensors")
    except (OSError, ValueError, TypeError, KeyError, safetensors.SafetensorError) as error:
        raise PriorError(f"cannot read the entropy model in {folder}: {error}") from error
    return ExactPrior(sizes, weights)
