"""Which dtype a device computes in."""

from pathlib import Path

import pytest

from mdic_ros.codec.precision import choose_dtype, cpu_unit

X86 = "flags\t\t: fpu vme sse2 avx512f {} avx512_vnni\n"
ARM = "Features\t: fp asimd evtstrm aes {} i8mm\n"


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        (X86.format("avx512_bf16"), "avx512_bf16"),
        (X86.format("avx512_bf16 amx_bf16 amx_tile"), "amx_bf16"),
        (X86.format(""), None),
        (ARM.format("bf16"), "bf16"),
        (ARM.format("bf16x"), None),
    ],
)
def test_the_processors_flags_decide(tmp_path: Path, text: str, unit: str | None) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert cpu_unit(file) == unit
    assert choose_dtype("auto", "cpu", file) == ("bfloat16" if unit else "float32")
    assert choose_dtype("auto", "cuda", file) == "float32"
    for asked in ("float32", "bfloat16"):
        assert choose_dtype(asked, "cpu", file) == asked


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert cpu_unit(tmp_path / "nothing") is None
    assert choose_dtype("auto", "cpu", tmp_path / "nothing") == "float32"
