"""Checkpoints and random states, for runs that continue exactly where they were stopped."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mdic_ros.errors import MdicError


class CheckpointError(MdicError):
    """A checkpoint that is damaged, or of another stage, size or version."""


def random_state(stage: Any) -> dict[str, Any]:
    """States of all generators of this process: Python's, numpy's, torch's, and `stage.rng` where there is one.

    Made of tensors, numbers and text only, so that a checkpoint loads without unpickling.
    """
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": [torch.from_numpy(np.asarray(keys, np.int64)), int(position), int(has_gauss), float(gauss)],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    if isinstance(rng := getattr(stage, "rng", None), np.random.Generator):
        state["stage"] = json.dumps(rng.bit_generator.state)
    return state


def set_random_state(stage: Any, state: dict[str, Any]) -> None:
    """Restores the states that `random_state` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    if "stage" in state:
        stage.rng.bit_generator.state = json.loads(state["stage"])


@contextmanager
def kept_random_state(stage: Any) -> Iterator[None]:
    """Restores all random states afterwards, so that training draws the same numbers whatever happens inside."""
    state = random_state(stage)
    try:
        yield
    finally:
        set_random_state(stage, state)


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint, whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint to the CPU, without unpickling.

    Raises:
        CheckpointError: it is damaged, or no checkpoint.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, struct, unpickling ...: damage raises all kinds of errors
        raise CheckpointError(f"{path} is damaged or no checkpoint ({error}); remove it to start anew") from error
    return state
