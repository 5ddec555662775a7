"""One half of a bundle in a process of its own: how long until its first result, and how much memory it takes.

Run as `python -m mdic_ros.evaluation.bench_process TASK` by `measure_process`. It imports no more than a node of that
half does.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Size = tuple[int, int]

WARM_UP = 5  #: frames before those that count: first calls pick kernels and take memory

#: Half -> module and class of what codes.
_CLASSES = {
    "encoder": ("mdic_ros.codec.encoder", "Encoder"),
    "torch_encoder": ("mdic_ros.evaluation.torch_encoder", "TorchEncoder"),
    "decoder": ("mdic_ros.codec.decoder", "Decoder"),
}


def measure_process(
    half: str,
    model: Path | None,
    device: str,
    threads: int,
    pairs: Mapping[Size, Sequence[tuple[Image, Image]]],
    packets: Mapping[Size, Sequence[bytes]],
) -> dict[str, Any]:
    """Measures one half in a fresh process.

    Args:
        half: "encoder", "torch_encoder" or "decoder".
        model: folder of the bundle; None = the shipped one.
        device, threads: as the half takes them.
        pairs, packets: by size, in growing order; the first of each is coded.

    Returns:
        "first_s", seconds from the start of the process until the first result at the smallest size; MiB of resident
        memory, "loaded" before it and "peak" by size; with CUDA also "cuda_peak" by size.

    Raises:
        ChildProcessError: the process failed.
    """
    sizes = [f"{height}x{width}" for height, width in pairs]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frames.npz"
        arrays: dict[str, Any] = {}
        for number, size in enumerate(pairs):
            arrays[f"left{number}"], arrays[f"right{number}"] = pairs[size][0]
            arrays[f"packet{number}"] = np.frombuffer(packets[size][0], np.uint8)
        np.savez(file, **arrays)
        task = {
            "half": half,
            "model": None if model is None else str(model),
            "device": device,
            "threads": threads,
            "file": str(file),
            "sizes": sizes,
        }
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "mdic_ros.evaluation.bench_process", json.dumps(task)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()  # the first result is there
            first_s = time.perf_counter() - began
            rest = process.stdout.read()
    if process.returncode:
        raise ChildProcessError(
            f"the process that measures the {half}'s memory failed (exit status {process.returncode}; what it wrote is "
            "above): it may have had too little memory, so try a smaller --size"
        )
    return {"first_s": round(first_s, 3), **json.loads(rest)}


def _code(task: Mapping[str, Any]) -> dict[str, Any]:
    """Codes the task's frames; prints a line when the first is done."""
    half: str = task["half"]
    module, kind = _CLASSES[half]
    codec = getattr(importlib.import_module(module), kind).from_pretrained(
        task["model"], task["device"], threads=task["threads"]
    )
    loaded = _peak_mib()
    peaks: dict[str, int] = {}
    cuda_peaks: dict[str, int] = {}
    with np.load(task["file"]) as arrays:
        for number, size in enumerate(task["sizes"]):
            for turn in range(WARM_UP + 1):
                if half == "decoder":
                    from mdic_ros.codec.decoder import SideView

                    codec.decode(arrays[f"packet{number}"].tobytes(), [SideView(arrays[f"right{number}"])])
                else:
                    codec.encode(arrays[f"left{number}"])
                if number == turn == 0:
                    print("first", flush=True)
            peaks[size] = _peak_mib()
            if task["device"].startswith("cuda") and half != "encoder":
                import torch

                cuda_peaks[size] = round(torch.cuda.max_memory_allocated(task["device"]) / 2**20)
    return {"loaded": loaded, "peak": peaks, **({"cuda_peak": cuda_peaks} if cuda_peaks else {})}


def _peak_mib() -> int:
    """Largest resident memory of this process so far, MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage counts what the parent had at the time of the fork, this does not
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 2**10)
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


if __name__ == "__main__":
    print(json.dumps(_code(json.loads(sys.argv[1]))))
