"""Which precision a device computes fast in."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from mdic_ros.codec.precision import cpu_unit

Precision = Literal["auto", "bf16", "fp16", "fp32"]


def choose_precision(asked: Precision, device: torch.device, cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, str]:
    """Which `Precision` other than auto to use, and the reason in words.

    `auto` is bf16 where the device has units for it.

    Args:
        asked: a `Precision`.
        device: where training runs.
        cpuinfo: see `cpu_unit`.
    """
    if asked != "auto":
        return asked, "as asked"
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bf16", "the GPU has it") if fast else ("fp32", "the GPU has no bf16 units")
    if device.type == "cpu":
        if unit := cpu_unit(cpuinfo):
            return "bf16", f"the CPU has {unit}"
        return "fp32", "the CPU has no bf16 units"
    return "fp32", f"nothing is known about {device.type}"
