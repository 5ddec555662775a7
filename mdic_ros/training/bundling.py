"""Finishing a bundle: half-precision weights, the index with digests, the fingerprint."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

from mdic_ros.codec.bundle import write_index


def halve(folder: Path) -> None:
    """Rewrites the float32 weights of a component in float16, half the size."""
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
        save_file(tensors, file, metadata={"format": "pt"})


def store_in_half(bundle: Path) -> None:
    """All weights in float16, but for the entropy model's: both ends evaluate those exactly, as they are."""
    for folder in sorted(p for p in bundle.iterdir() if p.is_dir() and p.name != "entropy_model"):
        halve(folder)


def forget_origin(config: Path) -> None:
    """Drops from a component's config.json where its weights were once loaded from: a path of the training machine."""
    content = json.loads(config.read_text())
    if content.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def finish_bundle(bundle: Path, model_id: str) -> str:
    """Makes component folders a bundle; returns its fingerprint.

    See `store_in_half` for the precision of the weights.
    """
    store_in_half(bundle)
    for config in bundle.glob("*/config.json"):
        forget_origin(config)
    return write_index(bundle, model_id)
