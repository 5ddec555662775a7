"""The training loop on a tiny network: what it keeps, skips, averages, and tells."""

import csv
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mdic_ros.training.checkpoint import CheckpointError
from mdic_ros.training.loop import MOST_SKIPS, DivergedError, LoopConfig, run
from mdic_ros.training.precision import choose_precision


@dataclass(frozen=True)
class Numbers:
    x: Tensor


class Draws:
    """Batches of random numbers."""

    def sample(self, rng: np.random.Generator) -> Numbers:
        return Numbers(torch.from_numpy(rng.standard_normal((4, 8)).astype(np.float32)))


class Toy:
    """A network with dropout whose loss draws from every generator there is; `stop_at` is a Ctrl-C in that step."""

    def __init__(self, stop_at: int = 0, bad: range = range(0)) -> None:
        torch.manual_seed(5)
        self.network = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.2), nn.BatchNorm1d(16), nn.Linear(16, 8))
        self.rng = np.random.default_rng(3)
        self.stop_at, self.bad, self.losses = stop_at, bad, 0

    def loss(self, batch: Numbers, progress: float) -> tuple[Tensor, dict[str, float]]:
        self.losses += 1
        if self.losses == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        noise = torch.rand(4, 8) + random.random() + np.random.rand() + self.rng.random()
        loss = (self.network(batch.x) - noise).square().mean()
        if self.losses in self.bad:
            loss = loss * torch.nan
        return loss, {"progress": progress}

    def validate(self) -> dict[str, float]:
        draws = [torch.rand(1).item(), random.random(), np.random.rand(), self.rng.random()]
        return {"sum": sum(draws), "training": float(self.network.training)}

    def pictures(self) -> dict[str, Tensor]:
        return {"black": torch.full((2, 3, 16, 32), -1.0), "white": torch.full((2, 3, 16, 32), 2.0)}

    def save(self, bundle: Path) -> None:
        bundle.mkdir(exist_ok=True)
        torch.save(self.network.state_dict(), bundle / "weights.pt")


def config(**options: object) -> LoopConfig:
    return LoopConfig(
        **{"steps": 6, "batch": 4, "log_every": 1, "warmup_steps": 2, "validate_minutes": 1e-4, **options}
    )


def state(out: Path) -> dict:
    return torch.load(out / "checkpoint.pt", weights_only=True)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def same(one: object, other: object) -> bool:
    """Bit-exactly, however nested."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(v, other[k]) for k, v in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_stopped_run_ends_where_one_without_a_stop_does(tmp_path, capsys, accumulation):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert run(Toy(), Draws(), config(accumulation=accumulation, workers=3), whole, tmp_path / "one")
    # The stopped one validates at other times, and makes its batches in another number of threads.
    stopping = Toy(stop_at=3 * accumulation)
    other = config(accumulation=accumulation, validate_minutes=5.0, workers=1)
    assert not run(stopping, Draws(), other, halves, tmp_path / "two")
    assert stopping.losses == 3 * accumulation and state(halves)["step"] == 3
    again = Toy()
    assert run(again, Draws(), other, halves, tmp_path / "two")
    assert again.losses == 3 * accumulation
    assert "resumed at step 3" in capsys.readouterr().out
    for part in ("network", "optimizer", "ema", "step", "random"):
        assert same(state(whole)[part], state(halves)[part]), part
    assert same(*(torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("one", "two")))
    progress = [float(row["progress"]) for row in rows(halves / "train.csv")]
    assert progress == pytest.approx([n / 6 for n in range(6)], abs=1e-5)


def test_a_finished_run_does_not_go_on(tmp_path):
    assert run(Toy(), Draws(), config(), tmp_path / "out", tmp_path / "one")
    before = state(tmp_path / "out")
    again = Toy()
    assert run(again, Draws(), config(), tmp_path / "out", tmp_path / "two")
    assert again.losses == 0 and same(before["network"], state(tmp_path / "out")["network"])
    assert same(*(torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("one", "two")))


def test_signals_are_given_back_and_validation_runs_in_evaluation_mode(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(Toy(stop_at=2), Draws(), config(), tmp_path / "out", tmp_path / "bundle")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert {float(row["training"]) for row in rows(tmp_path / "out" / "validation.csv")} == {0.0}


def test_rows_after_the_checkpoint_are_written_anew(tmp_path):
    out = tmp_path / "out"
    run(Toy(stop_at=3), Draws(), config(), out, tmp_path / "bundle")
    with (out / "train.csv").open("a") as file:  # as a run leaves them that was killed two steps later
        file.write("4,0,0,0,0,0\n5,0,0,0,0,0\n")
    run(Toy(), Draws(), config(), out, tmp_path / "bundle")
    assert [float(row["step"]) for row in rows(out / "train.csv")] == [1, 2, 3, 4, 5, 6]


def test_rows_that_a_crash_left_damaged_are_dropped(tmp_path):
    out = tmp_path / "out"
    run(Toy(stop_at=3), Draws(), config(), out, tmp_path / "bundle")
    text = (out / "train.csv").read_text().splitlines()
    damaged = [text[0], text[1], text[2][:9], "\0\0\0", "2,0,0,lo\ufffd,0,0", text[2] + ",0", text[3], "3"]
    (out / "train.csv").write_text("\n".join(damaged))
    run(Toy(), Draws(), config(), out, tmp_path / "bundle")
    assert [float(row["step"]) for row in rows(out / "train.csv")] == [1, 3, 4, 5, 6]
    (out / "train.csv").write_bytes(b"\xff\n")
    run(Toy(), Draws(), config(steps=8), out, tmp_path / "bundle")
    assert [float(row["step"]) for row in rows(out / "train.csv")] == [7, 8]


def test_losses_that_are_not_finite_are_skipped_and_counted(tmp_path):
    out = tmp_path / "out"
    assert run(Toy(bad=range(3, 5)), Draws(), config(), out, tmp_path / "bundle")
    assert state(out)["skipped"] == 2 and state(out)["step"] == 6
    assert [row["skipped"] for row in rows(out / "train.csv")] == ["0", "0", "1", "2", "2", "2"]
    assert [row["loss"] == "" for row in rows(out / "train.csv")] == [False, False, True, True, False, False]
    assert all(torch.isfinite(weight).all() for weight in state(out)["network"].values())

    endless = Toy(bad=range(2, 99))
    with pytest.raises(DivergedError, match=r"10 steps in a row.*learning_rate"):
        run(endless, Draws(), config(steps=99), tmp_path / "other", tmp_path / "bundle")
    assert endless.losses == 1 + MOST_SKIPS


def test_a_budget_of_minutes_ends_in_time_for_the_last_validation(tmp_path, monkeypatch):
    now = 0.0

    class Clocked(Toy):
        def loss(self, batch: Numbers, progress: float) -> tuple[Tensor, dict[str, float]]:
            nonlocal now
            now += 1
            return super().loss(batch, progress)

        def validate(self) -> dict[str, float]:
            nonlocal now
            now += 10
            return super().validate()

    monkeypatch.setattr("mdic_ros.training.loop.time.monotonic", lambda: now)
    out = tmp_path / "out"
    assert run(Clocked(), Draws(), config(steps=0, minutes=1, validate_minutes=5.0), out, tmp_path / "bundle")
    # Half a minute of steps, a validation of ten seconds, ten more steps, and the last validation: one minute.
    assert now == 60 and state(out)["step"] == 40 and state(out)["cost"] == 10
    assert [row["step"] for row in rows(out / "validation.csv")] == ["30", "40"]
    trained = rows(out / "train.csv")
    assert [float(row["progress"]) for row in trained[:3]] == pytest.approx([0, 1 / 60, 2 / 60], abs=1e-5)
    assert [float(row["progress"]) for row in trained[-3:]] == pytest.approx([47 / 50, 48 / 50, 49 / 50])
    assert float(trained[-1]["lr"]) < 0.03 * config().learning_rate


def test_pictures_and_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(Toy(), Draws(), config(validate_minutes=5.0), tmp_path / "out", tmp_path / "bundle")
    sheet = np.asarray(Image.open(tmp_path / "out" / "pictures" / "0000006.png"))
    assert sheet.shape == (2 * 16 + 14, 2 * 32, 3)
    assert (sheet[14:, :32] == 0).all() and (sheet[14:, 32:] == 255).all()
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events.Scalars("validation/sum")] == [6]
    assert [event.step for event in events.Images("held out")] == [6]


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "checkpoint.pt").write_bytes(b"PK nothing of the kind")
    with pytest.raises(CheckpointError, match="damaged or no checkpoint"):
        run(Toy(), Draws(), config(), out, tmp_path / "bundle")
    other = Toy()
    other.network = nn.Sequential(nn.Linear(8, 8))
    run(other, Draws(), config(steps=1), tmp_path / "small", tmp_path / "bundle")
    with pytest.raises(CheckpointError, match=r"another stage, size or version.*--out"):
        run(Toy(), Draws(), config(), tmp_path / "small", tmp_path / "bundle")


def test_an_error_in_a_batch_reaches_the_caller(tmp_path):
    class Broken(Draws):
        def sample(self, rng: np.random.Generator) -> Numbers:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        run(Toy(), Broken(), config(), tmp_path / "out", tmp_path / "bundle")


def test_precision_is_what_the_device_is_fast_in(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags\t\t: fpu avx512f avx512_bf16 amx_tile\n")
    assert choose_precision("auto", torch.device("cpu"), cpuinfo) == ("bf16", "the CPU has avx512_bf16")
    cpuinfo.write_text("flags\t\t: fpu avx512f avx2\n")
    assert choose_precision("auto", torch.device("cpu"), cpuinfo)[0] == "fp32"
    assert choose_precision("auto", torch.device("cpu"), tmp_path / "absent")[0] == "fp32"
    assert choose_precision("bf16", torch.device("cpu"), cpuinfo)[0] == "bf16"
    with pytest.raises(ValueError, match="mixed_precision"):
        LoopConfig(mixed_precision="half")


@pytest.mark.slow
@pytest.mark.timeout(900)  # a busy machine takes minutes to load torch in every process
def test_two_processes_average_their_gradients(tmp_path):
    """With gloo on the CPU: batches differ, weights do not, and a stopped run goes on exactly."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, str(Path(__file__).with_name("two_processes.py")), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    assert same(ranks[0]["weights"], ranks[1]["weights"])
    assert not torch.equal(ranks[0]["seen"], ranks[1]["seen"])

    # The first step's gradient is the mean of the two batches' own; Adam's first moment is a tenth of it.
    expected = torch.stack([rank["seen"] for rank in ranks]).mean(0)
    torch.testing.assert_close(ranks[0]["moment"], 0.1 * expected)
    whole, halves = state(tmp_path / "whole"), state(tmp_path / "halves")
    assert len(whole["random"]) == 2 and not same(*whole["random"])
    for part in ("network", "optimizer", "ema", "step", "random"):
        assert same(whole[part], halves[part]), part
    assert [float(row["step"]) for row in rows(tmp_path / "whole" / "train.csv")] == [1, 2, 3, 4]
