"""Finishing a bundle: half-precision weights, the index with digests, the fingerprint."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file

from mdic_ros.codec.bundle import write_index


def halve(folder: Path) -> None:
    """Rewrites the float32 weights of a component in float16, half the size."""
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
        save_file(tensors, file, metadata={"format": "pt"})


def finish_bundle(bundle: Path, model_id: str) -> str:
    """Makes component folders a bundle; returns its fingerprint.

    All weights are stored in float16, but for the entropy model's: both ends evaluate those exactly, as they are.
    """
    for folder in sorted(p for p in bundle.iterdir() if p.is_dir() and p.name != "entropy_model"):
        halve(folder)
    return write_index(bundle, model_id)
