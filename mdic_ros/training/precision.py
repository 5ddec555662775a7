"""Which precision a device computes fast in."""

from __future__ import annotations

from pathlib import Path

import torch

PRECISIONS = ("auto", "bf16", "fp16", "fp32")


def choose_precision(asked: str, device: torch.device, cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, str]:
    """Which of `PRECISIONS` but auto it is to be, and why, for people to read.

    `auto` is bf16 where the device has units for it. A CPU without them emulates: bf16 convolutions then run at a half
    to a tenth of float32's pace.

    Args:
        asked: one of `PRECISIONS`.
        device: where training runs.
        cpuinfo: Linux's list of what the CPU can.
    """
    if asked != "auto":
        return asked, "as asked"
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bf16", "the GPU has it") if fast else ("fp32", "the GPU has no bf16 units")
    if device.type == "cpu":
        words = set(cpuinfo.read_text().split()) if cpuinfo.is_file() else set()
        if found := sorted(words & {"amx_bf16", "avx512_bf16"}):
            return "bf16", f"the CPU has {found[0]}"
        return "fp32", "the CPU has no bf16 units"
    return "fp32", f"nothing is known about {device.type}"
