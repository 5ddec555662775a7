"""Finishing a bundle: half-precision weights, the index with digests, the ONNX copy of the encoder, the fingerprint."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from mdic_ros.codec.bundle import INDEX, Bundle, BundleError, write_index
from mdic_ros.codec.onnx_export import export_encoder

#: What components consist of.
_FILES = {
    "config.json", "diffusion_pytorch_model.safetensors", "generation_config.json", "merges.txt", "model.safetensors",
    "preprocessor_config.json", "scheduler_config.json", "special_tokens_map.json", "tokenizer.json",
    "tokenizer_config.json", "vocab.json",
}  # fmt: skip


def component_folder(bundle: Path, name: str) -> Path:
    """Folder of a component of a bundle that is being trained, so that has no index yet to check its files against.

    Raises:
        BundleError: it holds more than a component does. With an index of shards beside the weights, the libraries load
            those instead; a pickle they would unpickle.
    """
    folder = bundle / name
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        if file.name not in _FILES and file.suffix != ".partial":
            raise BundleError(f"{file} is no part of a model: take it out of the folder")
    return folder


def write_component(part: Any, folder: Path) -> None:
    """Writes what has a `save_pretrained`; whoever reads a file of it meanwhile finds it whole, the old or the new."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    part.save_pretrained(partial)
    folder.mkdir(parents=True, exist_ok=True)
    for file in partial.iterdir():
        file.replace(folder / file.name)
    partial.rmdir()


def halve(folder: Path) -> None:
    """Rewrites the float32 weights of a component in float16, half the size; files that are so are left alone."""
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        if any(t.dtype.is_floating_point and t.dtype != torch.float16 for t in tensors.values()):
            tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
            partial = file.with_suffix(".partial")
            save_file(tensors, partial, metadata={"format": "pt"})
            partial.replace(file)


def store_in_half(bundle: Path) -> None:
    """All weights in float16, but for the entropy model's: both ends evaluate those exactly, as they are."""
    for folder in sorted(p for p in bundle.iterdir() if p.is_dir() and p.name != "entropy_model"):
        halve(folder)


def forget_origin(config: Path) -> None:
    """Drops from a component's config.json where its weights were once loaded from: a path of the training machine."""
    content = json.loads(config.read_text())
    if content.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def finish_bundle(bundle: Path, name: str) -> str:
    """Makes component folders a bundle; returns its fingerprint. One that was a bundle before keeps its guidance.

    The model_id is made of the name: what it must not hold becomes an underscore. See `store_in_half` for the precision
    of the weights. The encoder's networks are written as ONNX, too.
    """
    store_in_half(bundle)
    for config in bundle.glob("*/config.json"):
        forget_origin(config)
    shutil.rmtree(bundle / "encoder", ignore_errors=True)  # of other weights
    index = bundle / INDEX
    guidance = json.loads(index.read_text()).get("guidance_scale", 1.0) if index.is_file() else 1.0
    model_id = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:64]
    write_index(bundle, model_id, guidance_scale=guidance)
    return export_encoder(Bundle(bundle))
