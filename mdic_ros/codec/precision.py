"""Which devices compute in bfloat16 faster than in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

Dtype = Literal["auto", "float32", "bfloat16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)  #: what a decoder can be asked for; nodes and commands offer these

#: Flags of Linux for units that multiply bfloat16: x86-64's two, and ARM's.
_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")


def cpu_unit(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """The CPU's unit for bfloat16 products, by its flag; None if it has none or if the system does not say.

    Without such a unit bfloat16 is emulated, at a half to a tenth of the speed of float32.

    Args:
        cpuinfo: Linux's list of the flags of the CPU.
    """
    words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split()) if cpuinfo.is_file() else set()
    return next((flag for flag in _FLAGS if flag in words), None)


def choose_dtype(asked: Dtype, device: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> Dtype:
    """Chooses between float32 and bfloat16.

    "auto" is bfloat16 on a CPU that has units for it, see `cpu_unit`, else float32. It depends on the flags of the
    processor, not on a measurement: that would vary on a busy machine, and the same packet would give different
    pictures.

    Args:
        asked: one of `DTYPES`.
        device: kind of the device where the networks run: "cpu", "cuda" ...
        cpuinfo: see `cpu_unit`.

    Raises:
        ValueError: none of `DTYPES`.
    """
    if asked not in DTYPES:
        raise ValueError(f"dtype is one of {', '.join(DTYPES)}, not {asked!r}")
    if asked != "auto":
        return asked
    return "bfloat16" if device == "cpu" and cpu_unit(cpuinfo) else "float32"
