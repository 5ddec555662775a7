"""The training loop of all stages: accelerate, EMA, a wall-clock budget, resume, CSV log, graceful stop."""

from __future__ import annotations

import csv
import math
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers.training_utils import EMAModel
from torch import Tensor, nn


@dataclass
class LoopConfig:
    """How long and how fast; one of these per stage YAML, under `loop:`."""

    minutes: float = 30.0  #: wall-clock budget; the learning rate falls to zero along it
    batch: int = 12
    size: tuple[int, int] = (128, 256)  #: height, width of the crops, pixels
    learning_rate: float = 5e-4
    warmup_steps: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    mixed_precision: str = "bf16"
    accumulation: int = 1
    seed: int = 0
    log_every: int = 20
    validate_minutes: float = 5.0  #: between validations; each is followed by a checkpoint
    betas: tuple[float, float] = field(default=(0.9, 0.98))


class Stage(Protocol):
    """What a stage gives the loop."""

    #: Everything trained, and buffers to be kept in checkpoints.
    @property
    def network(self) -> nn.Module: ...

    def loss(self, batch: Any, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Scalar loss and figures to log; `progress` runs from 0 to 1 over the budget."""

    def validate(self) -> dict[str, float]:
        """Figures on the held-out drive."""

    def save(self, bundle: Path) -> None:
        """Writes this stage's components into the bundle."""


class CsvLog:
    """Appends rows to a CSV file; the columns are those of its first row."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def row(self, values: dict[str, float]) -> None:
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(values)
            writer.writerow([f"{v:.6g}" for v in values.values()])


def run(stage: Stage, batches: Iterable[Any], config: LoopConfig, out: Path, bundle: Path) -> None:
    """Trains until the budget is spent, or until Ctrl-C; then saves the stage's EMA weights into the bundle.

    A run that was stopped goes on from `out/checkpoint` with the same elapsed time, optimiser, EMA and step.

    Args:
        stage: the networks and their loss.
        batches: endless.
        config: see `LoopConfig`.
        out: folder of logs and of the checkpoint.
        bundle: folder of the model to write.
    """
    out.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.accumulation,
        cpu=not torch.cuda.is_available(),
    )
    set_seed(config.seed)
    parameters = [p for p in stage.network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )
    ema = EMAModel(parameters, decay=config.ema_decay, use_ema_warmup=True, power=0.75)
    step, elapsed = 0, 0.0
    checkpoint = out / "checkpoint.pt"
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        stage.network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        ema.load_state_dict(state["ema"])
        step, elapsed = state["step"], state["elapsed"]
        torch.set_rng_state(state["rng"])
        print(f"resumed at step {step}, {elapsed / 60:.1f} of {config.minutes:g} minutes", flush=True)
    network = accelerator.prepare_model(stage.network)
    optimizer = accelerator.prepare_optimizer(optimizer)
    log, validation_log = CsvLog(out / "train.csv"), CsvLog(out / "validation.csv")
    stop = False

    def ask_to_stop(*_: object) -> None:
        nonlocal stop
        stop = True

    signal.signal(signal.SIGINT, ask_to_stop)
    signal.signal(signal.SIGTERM, ask_to_stop)

    def save_checkpoint() -> None:
        partial = checkpoint.with_suffix(".partial")
        torch.save(
            {
                "network": stage.network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "ema": ema.state_dict(),
                "step": step,
                "elapsed": elapsed,
                "rng": torch.get_rng_state(),
            },
            partial,
        )
        partial.replace(checkpoint)

    def validate() -> None:
        ema.store(parameters)
        ema.copy_to(parameters)
        stage.network.eval()
        with torch.no_grad(), accelerator.autocast():
            figures = stage.validate()
        if accelerator.is_main_process:
            stage.save(bundle)
        stage.network.train()
        ema.restore(parameters)
        validation_log.row({"step": step, "minutes": elapsed / 60, **figures})
        print(f"validation {step} " + " ".join(f"{k}={v:.4g}" for k, v in figures.items()), flush=True)

    budget, last, validated = config.minutes * 60, time.monotonic(), elapsed
    network.train()
    sums: dict[str, float] = {}
    for batch in batches:
        progress = min(elapsed / budget, 1.0)
        rate = config.learning_rate * min(1.0, (step + 1) / config.warmup_steps)
        rate *= 0.5 * (1 + math.cos(math.pi * progress)) * 0.98 + 0.02
        for group in optimizer.param_groups:
            group["lr"] = rate
        with accelerator.accumulate(network), accelerator.autocast():
            loss, figures = stage.loss(batch, progress)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}: {figures}")
        accelerator.backward(loss)
        if accelerator.sync_gradients:
            accelerator.clip_grad_norm_(parameters, config.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ema.step(parameters)
        step += 1
        now = time.monotonic()
        elapsed, last = elapsed + now - last, now
        for name, value in {"loss": loss.item(), **figures}.items():
            sums[name] = sums.get(name, 0.0) + value
        if step % config.log_every == 0:
            means = {name: value / config.log_every for name, value in sums.items()}
            log.row({"step": step, "minutes": elapsed / 60, "lr": rate, **means})
            print(f"{step} {elapsed / 60:.1f} min " + " ".join(f"{k}={v:.4g}" for k, v in means.items()), flush=True)
            sums = {}
        if elapsed - validated >= config.validate_minutes * 60:
            validated = elapsed
            validate()
            save_checkpoint()
            last = time.monotonic()
        if stop or elapsed >= budget:
            break
    validate()
    save_checkpoint()
