"""What each of two processes does in test_loop.py."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import debug_launcher
from torch import Tensor, nn

from mdic_ros.training.loop import LoopConfig, run, start_processes


@dataclass(frozen=True)
class Numbers:
    x: Tensor


class Draws:
    """Vectors of random numbers."""

    def sample(self, rng: np.random.Generator) -> Numbers:
        return Numbers(torch.from_numpy(rng.standard_normal(5).astype(np.float32)))


class Toy:
    """A loss whose gradient is the batch itself; another part of the network is used in every second step only."""

    def __init__(self, stop_at: int = 0) -> None:
        torch.manual_seed(1)
        self.network = nn.ParameterDict({"weight": torch.zeros(5), "now_and_then": torch.zeros(5)})
        self.stop_at, self.seen = stop_at, []

    def loss(self, batch: Numbers, progress: float) -> tuple[Tensor, dict[str, float]]:
        self.seen.append(batch.x)
        # One process is asked to stop; both must.
        if len(self.seen) == self.stop_at and start_processes().process_index == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        loss = (self.network["weight"] * batch.x).sum()
        if len(self.seen) % 2 == 0:
            loss = loss + (self.network["now_and_then"] * torch.rand(5)).sum()
        return loss, {}

    def validate(self) -> dict[str, float]:
        return {"weight": self.network["weight"].sum().item()}

    def save(self, bundle: Path) -> None:
        bundle.mkdir(exist_ok=True)


def main(folder: Path) -> None:
    def config(steps: int) -> LoopConfig:
        return LoopConfig(steps=steps, log_every=1, warmup_steps=1, clip_norm=1e9, seed=11, workers=1)

    bundle = folder / "bundle"
    first = Toy()
    assert run(first, Draws(), config(1), folder / "first", bundle)
    # Of the only parameter that the first step uses.
    (adam,) = torch.load(folder / "first" / "checkpoint.pt", weights_only=True)["optimizer"]["state"].values()
    whole = Toy()
    assert run(whole, Draws(), config(4), folder / "whole", bundle)
    assert not run(Toy(stop_at=2), Draws(), config(4), folder / "halves", bundle)
    assert run(Toy(), Draws(), config(4), folder / "halves", bundle)
    rank = start_processes().process_index
    weights = {name: value.detach() for name, value in whole.network.items()}
    torch.save({"weights": weights, "seen": first.seen[0], "moment": adam["exp_avg"]}, folder / f"rank{rank}.pt")


if __name__ == "__main__":
    if "RANK" in os.environ:  # torchrun, accelerate launch
        main(Path(sys.argv[1]))
    else:
        debug_launcher(main, (Path(sys.argv[1]),), num_processes=2)
