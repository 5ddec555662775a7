"""Provenance of figures: source, libraries and machine, so that they can be reproduced."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from PIL import features

from mdic_ros import __version__

_LIBRARIES = (
    "torch", "diffusers", "transformers", "onnxruntime", "vector-quantize-pytorch", "numpy", "pillow", "av",
    "pytorch-msssim", "torchmetrics", "bjontegaard", "scipy", "matplotlib",
)  # fmt: skip
#: The source that figures can depend on: all but what shows them.
_FIGURES_FROM = (
    "models/**/*.py", "codec/*.py", "datasets/**/*.py", "stream/vertical_disparity.py", "backbones.py",
    *(f"evaluation/{name}.py" for name in (
        "ablations", "anchors", "evaluate", "metrics", "niqe", "perceptual", "protocol", "realism", "sources",
        "variants",
    )),
)  # fmt: skip
_CODECS = ("jpg", "webp", "avif")  #: as Pillow calls what it codes them with


def versions() -> dict[str, str]:
    """Of this package (with a digest of the source that figures come from), Python, and libraries, where installed."""
    found = {"mdic_ros": f"{__version__} (source {_source()})", "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | {f"pillow's {name}": str(features.version(name)) for name in _CODECS}


def _source() -> str:
    """A digest: the source of a checkout is seldom that of the release whose number it has."""
    digest, root = sha256(), Path(str(files("mdic_ros")))
    for pattern in _FIGURES_FROM:
        for file in sorted(root.glob(pattern)):
            digest.update(str(file.relative_to(root)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def machine(device: str) -> dict[str, str | int | None]:
    """System, processor, number of cores that this process may use, and where the networks run: cpu, cuda:1 ..."""
    processor, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8").splitlines()
        processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), processor)
    return {
        "system": platform.platform(),
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": _cuda_name(device) if device.startswith("cuda") else device,
    }


def _cuda_name(device: str) -> str:
    import torch  # what only encodes may be without it

    return torch.cuda.get_device_name(device)
