"""mdic eval, as far as the command goes; the evaluation itself has tests of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Mdic = Callable[..., Any]
ROOT = Path(__file__).parents[2]


def test_tables_and_a_folder(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    options = ("--protocol", "128x256", "--steps", "2,1", "--no-anchors", "--no-ablations", "--model", tiny_bundle)
    alone = mdic("eval", pairs, *options, "--limit", 1)
    assert alone.code == 0
    assert "1 image of 1 drive, protocol 128x256, coded at 128x256 (height x width), steps 1, 2." in alone.out
    assert "in 1 step, with the side image: PSNR " in alone.out
    assert "| steps | rate point | bytes (max) |" in alone.out
    kept = mdic("eval", pairs, *options, "--limit", 1, "--output", tmp_path / "report")
    assert kept.code == 0 and str(tmp_path / "report" / "index.html") in kept.err
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "index.html", "pictures", "plots", "report.json", "report.md", "rows.jsonl", "sheets"
    }  # fmt: skip
    table = alone.out[: alone.out.index("## To repeat it")]
    assert kept.out.startswith(table)
    other = mdic("eval", pairs, *options, "--protocol", "128x512", "--output", tmp_path / "report")
    assert other.code == 1 and "--output" in other.err


def test_quick(mdic: Mdic, pairs: Path, tiny_bundle: Path) -> None:
    result = mdic("eval", pairs, "--quick", "--model", tiny_bundle)
    assert result.code == 0
    assert result.err.count("not of KITTI's size: they are taken whole and scaled to 128x256") == 1
    assert "The side image by itself, for no bytes, has " in result.out
    assert "2 images of 1 drive, protocol whole, coded at 128x256 (height x width), steps 1." in result.out
    assert "What each part is worth" not in result.out and "JPEG" not in result.out


def test_quick_takes_eight_pairs_in_all(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    for drive in ("a", "b"):
        for side in ("left", "right"):
            (tmp_path / "drives" / drive / side).mkdir(parents=True)
            for number in range(9):
                shutil.copy(pairs / side / "0.png", tmp_path / "drives" / drive / side / f"{number}.png")
    one = mdic("eval", tmp_path / "drives" / "a", "--quick", "--model", tiny_bundle)
    assert "8 images of 1 drive" in one.out
    assert "8 images of 2 drives" in mdic("eval", tmp_path / "drives", "--quick", "--model", tiny_bundle).out


def test_what_does_not_fit(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    small = mdic("eval", pairs, "--protocol", "kitti", "--model", tiny_bundle)
    assert small.code == 1 and "crops 370x740" in small.err
    assert mdic("eval", tmp_path / "nothing", "--model", tiny_bundle).code == 1
    unknown = mdic("eval", pairs, "--protocol", "widescreen", "--model", tiny_bundle)
    assert unknown.code == 1 and "no protocol 'widescreen'" in unknown.err


def test_ctrl_c_says_what_is_kept(
    mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mdic_ros.evaluation.results import Rows

    add, added = Rows.add, 0

    def add_some(rows: Rows, row: Any) -> None:
        nonlocal added
        if added == 3:
            raise KeyboardInterrupt
        add(rows, row)
        added += 1

    options = ("--quick", "--protocol", "128x256", "--model", tiny_bundle)
    with monkeypatch.context() as patch:
        patch.setattr(Rows, "add", add_some)
        stopped = mdic("eval", pairs, *options, "--output", tmp_path / "report")
    assert stopped.code == 130
    assert f"the figures of 3 pictures are kept in {tmp_path / 'report'}: the same command goes on" in stopped.err
    added = 3
    with monkeypatch.context() as patch:
        patch.setattr(Rows, "add", add_some)
        alone = mdic("eval", pairs, *options)
    assert alone.code == 130 and "nothing was kept. With --output FOLDER" in alone.err
    assert mdic("eval", pairs, *options, "--output", tmp_path / "report").code == 0


@pytest.mark.slow
@pytest.mark.timeout(900)  # a busy machine takes minutes to load torch in every process
def test_several_processes(pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    # What `accelerate launch` starts for several GPUs; on CPUs it wants MPI.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "mdic_ros.cli", "eval", str(pairs), "--protocol", "128x256", "--steps", "1", "--no-anchors"]
    command += ["--no-ablations", "--model", str(tiny_bundle), "--output", str(tmp_path / "report")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 images of 1 drive") == 1  # one of them reports
    for name in ("rows.jsonl", "rows-1.jsonl"):
        assert (tmp_path / "report" / name).read_text().count("\n") == 5
    assert (tmp_path / "report" / "index.html").exists()
