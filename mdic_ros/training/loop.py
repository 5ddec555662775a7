"""The training loop of all stages: accelerate, EMA, a budget of time or steps, exact resume, logs, graceful stop."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Protocol

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    InitProcessGroupKwargs,
    gather_object,
    parse_flag_from_env,
    set_seed,
)
from diffusers.training_utils import EMAModel
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from mdic_ros.errors import MdicError
from mdic_ros.training import checkpoint
from mdic_ros.training.config import Options
from mdic_ros.training.logs import RunLog
from mdic_ros.training.pictures import picture_columns
from mdic_ros.training.precision import Precision, choose_precision
from mdic_ros.training.stream import BatchStream, Crops, worker_threads

CHECKPOINT = "checkpoint.pt"  #: in a run's folder
MOST_SKIPS = 10  #: a run ends after this many steps in a row without a finite loss


#: Called with the steps and minutes of the whole run, those before a stop included.
Saved = Callable[[int, float], None]


class DivergedError(MdicError):
    """Training that does not come back to finite losses."""


_BelowOne = Annotated[float, Field(ge=0, lt=1)]


class LoopConfig(Options):
    """Options of the training loop, under `loop:` in the YAML of each stage."""

    minutes: PositiveFloat = 30.0  #: wall-clock budget, validations included; the learning rate falls to zero over it
    steps: NonNegativeInt = 0  #: budget in optimiser steps, for runs that repeat bit for bit; 0 = `minutes` counts
    batch: PositiveInt = 12  #: per process; the optimiser sees batch * accumulation * processes
    size: tuple[PositiveInt, PositiveInt] = (128, 256)  #: height, width of the crops, pixels
    learning_rate: PositiveFloat = 5e-4
    warmup_steps: PositiveInt = 100
    weight_decay: NonNegativeFloat = 0.01
    clip_norm: PositiveFloat = 1.0
    ema_decay: _BelowOne = 0.999
    mixed_precision: Precision = "auto"  #: auto is bf16 where the device has units for it, else fp32
    accumulation: PositiveInt = 1  #: batches per optimiser step
    seed: NonNegativeInt = 0
    deterministic: bool = False  #: on a GPU: deterministic algorithms where there are any; a CPU always has them
    workers: Annotated[int, Field(ge=0, le=256)] = 0  #: threads that make batches; 0 = one per core but one, at most 8
    log_every: PositiveInt = 20  #: steps
    validate_minutes: PositiveFloat = 5.0  #: between validations; each is preceded by a checkpoint
    betas: tuple[_BelowOne, _BelowOne] = (0.9, 0.98)


class Stage(Protocol):
    """Interface of a stage.

    Optional: `rng`, a numpy Generator, whose state is then kept in checkpoints; and `pictures()`, which returns the
    columns of a contact sheet of held-out pictures, title -> (B, 3, H, W) in [-1, 1].
    """

    #: Everything that is trained, and buffers that checkpoints keep.
    @property
    def network(self) -> nn.Module: ...

    def loss(self, batch: Any, progress: float) -> tuple[Tensor, dict[str, Any]]:
        """Scalar loss and figures to log (floats or scalar tensors); `progress` runs from 0 to 1 over the budget."""

    def validate(self) -> dict[str, float]:
        """Figures on the held-out drive."""

    def save(self, bundle: Path) -> None:
        """Writes this stage's components into the bundle."""


class _Loss(nn.Module):
    """A stage's loss as the forward pass of a module, as accelerate needs it to average gradients over processes."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.network = stage.network
        self._loss = stage.loss

    def forward(self, batch: Any, progress: float) -> tuple[Tensor, dict[str, Any]]:
        return self._loss(batch, progress)


class _Stop:
    """Records whether Ctrl-C or SIGTERM came; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.asked = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, signals are recorded; afterwards the earlier handlers are back."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def start_processes() -> PartialState:
    """Joins the process group if `accelerate launch` started this process. To be called before a stage is built."""
    options = InitProcessGroupKwargs(timeout=timedelta(hours=2)).to_kwargs()
    return PartialState(cpu=not torch.cuda.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"), **options)


class _Run:
    """The state of a run: optimiser, averages, budget, checkpoints."""

    def __init__(self, stage: Stage, config: LoopConfig, out: Path, bundle: Path, saved: Saved) -> None:
        self.stage, self.config, self.out, self.bundle, self.saved = stage, config, out, bundle, saved
        out.mkdir(parents=True, exist_ok=True)
        device = start_processes().device
        precision, reason = choose_precision(config.mixed_precision, device)
        AcceleratorState._reset_state()  # stages of one process may differ in precision
        self.accelerator = Accelerator(
            mixed_precision="no" if precision == "fp32" else precision,
            # Not every step uses every part of a stage, without text or side image for example.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        set_seed(config.seed, device_specific=True)
        if config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is not deterministic without it
        # A few gradients on a GPU have no deterministic algorithm, such as bilinear upsampling: warn and go on.
        torch.use_deterministic_algorithms(config.deterministic, warn_only=True)
        torch.backends.cudnn.benchmark = not config.deterministic
        self.loss = self.accelerator.prepare_model(_Loss(stage))
        self.parameters = [p for p in stage.network.parameters() if p.requires_grad]
        self.optimizer = self.accelerator.prepare_optimizer(
            torch.optim.AdamW(
                self.parameters,
                lr=config.learning_rate,
                betas=config.betas,
                weight_decay=config.weight_decay,
                fused=True,
            )
        )
        self.ema = EMAModel(self.parameters, decay=config.ema_decay, use_ema_warmup=True, power=0.75, foreach=True)
        self.step = self.skipped = self.skipped_in_a_row = 0
        self.elapsed = 0.0  #: seconds of the budget that are used up
        self.cost = 0.0  #: seconds of the longest checkpoint and validation so far
        resumed = self._load()
        self.log = RunLog(out, self.step, self.accelerator.is_main_process)
        self.log.say(
            f"{out.name}: {sum(p.numel() for p in self.parameters) / 1e6:.2f} M parameters on {device}, "
            f"{self.accelerator.num_processes} process(es), {precision} ({reason})"
        )
        if resumed:
            self.log.say(resumed)

    # --- checkpoints ---

    @property
    def _checkpoint(self) -> Path:
        return self.out / CHECKPOINT

    def save(self) -> None:
        """Writes out/checkpoint.pt."""
        random_states = gather_object([checkpoint.random_state(self.stage)])
        scaler = self.accelerator.scaler
        if self.accelerator.is_main_process:
            state = {
                "network": self.stage.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "ema": self.ema.state_dict(),
                "scaler": scaler.state_dict() if scaler is not None else None,
                "step": self.step,
                "skipped": self.skipped,
                "elapsed": self.elapsed,
                "cost": self.cost,
                "random": random_states,
            }
            checkpoint.save(self._checkpoint, state)

    def _load(self) -> str:
        """Restores the checkpoint if there is one, and returns a sentence about it, or ""."""
        if not self._checkpoint.is_file():
            return ""
        state = checkpoint.load(self._checkpoint)
        try:
            self.stage.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.ema.load_state_dict(state["ema"])
            self.ema.to(self.accelerator.device)
            if self.accelerator.scaler is not None and state["scaler"] is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            self.step, self.skipped = state["step"], state["skipped"]
            self.elapsed, self.cost = state["elapsed"], state["cost"]
            random_states = state["random"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise checkpoint.CheckpointError(
                f"{self._checkpoint} is of another stage, size or version of it ({str(error).splitlines()[0]}); "
                "choose another --out, or remove it to start anew"
            ) from error
        if len(random_states) == self.accelerator.num_processes:
            checkpoint.set_random_state(self.stage, random_states[self.accelerator.process_index])
            exactly = ""
        else:
            exactly = f"; it had {len(random_states)} process(es), so the result is not what it would have been"
        return f"resumed at step {self.step}, {self.elapsed / 60:.1f} minutes{exactly}"

    # --- the budget ---

    @property
    def progress(self) -> float:
        """0 to 1 over the budget; a budget of minutes leaves time for the last validation."""
        if self.config.steps:
            return min(1.0, self.step / self.config.steps)
        return min(1.0, self.elapsed / self._usable)

    @property
    def _usable(self) -> float:
        """Seconds of a budget of minutes for everything but the last validation."""
        budget = 60 * self.config.minutes
        return max(budget - self.cost, budget / 2)

    def _has_time_for(self, seconds: float) -> bool:
        """Whether there is time for further steps after something that takes this long."""
        return self.progress < 1 if self.config.steps else self.elapsed + seconds < self._usable

    def _agree(self, *values: float) -> list[float]:
        """Means over the processes: their clocks and losses differ, but their decisions must be the same."""
        if self.accelerator.num_processes == 1:
            return list(values)
        kind = torch.float32 if self.accelerator.device.type == "mps" else torch.float64
        mine = torch.tensor(values, dtype=kind, device=self.accelerator.device)
        agreed: list[float] = self.accelerator.reduce(mine, "mean").tolist()
        return agreed

    # --- steps ---

    def train(self, crops: Crops) -> bool:
        """Trains until the budget is used up, which returns True, or until a signal to stop."""
        config, processes = self.config, self.accelerator.num_processes
        stop, sums = _Stop(), _Means()
        # At least one validation before the end, to know how long the last one will take.
        every = 60 * min(config.validate_minutes, math.inf if config.steps else config.minutes / 2)
        stream = BatchStream(
            crops,
            config.seed,
            self.accelerator.process_index,
            self.step * config.accumulation,
            worker_threads(config.workers, processes),
            self.accelerator.device,
        )
        validated = self.elapsed
        self.stage.network.train()
        with self.log, stream, stop.listening():
            last, stopped, paused_at = time.monotonic(), False, -1
            while (self.step == 0 or self.progress < 1) and not stopped:
                rate, figures, finite = self._step(stream)
                now = time.monotonic()
                all_finite, asked, self.elapsed = self._agree(finite, stop.asked, self.elapsed + now - last)
                last, stopped = now, asked > 0
                self._update(all_finite == 1)
                if all_finite == 1:
                    sums.add(figures)
                if self.step % config.log_every == 0:
                    means = sums.take()
                    self.log.training(
                        self.step, self.elapsed / 60, {"lr": rate, **means, "skipped": float(self.skipped)}
                    )
                self.log.advance(self.progress)
                if self.elapsed - validated >= every and self._has_time_for(self.cost) and not stopped:
                    self._pause()
                    validated, last, paused_at = self.elapsed, time.monotonic(), self.step
            spent = self.progress >= 1
            if self.step == paused_at:  # no step since the last validation
                self.save()
            else:
                self._pause()
        return spent

    def _step(self, stream: BatchStream) -> tuple[float, list[dict[str, Any]], bool]:
        """Computes the gradients of a step: learning rate, figures of its batches, whether all losses were finite."""
        config, progress = self.config, self.progress
        rate = config.learning_rate * min(1.0, (self.step + 1) / config.warmup_steps)
        rate *= 0.5 * (1 + math.cos(math.pi * progress)) * 0.98 + 0.02
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        finite, logged = True, []
        for part in range(config.accumulation):
            last = part == config.accumulation - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.loss):
                loss, figures = self.loss(next(stream), progress)
                self.accelerator.backward(loss / config.accumulation)
            finite = finite and bool(torch.isfinite(loss))
            logged.append({"loss": loss, **figures})
        return rate, logged, finite

    def _update(self, finite: bool) -> None:
        """Takes the step, or skips it when a loss or a gradient is not finite.

        Raises:
            DivergedError: ten steps in a row were skipped.
        """
        if finite:
            norm = self.accelerator.clip_grad_norm_(self.parameters, self.config.clip_norm)
            # With float16, gradients may overflow until the scaler has found its scale, so the scaler decides.
            if finite := self.accelerator.scaler is not None or bool(torch.isfinite(norm)):
                self.optimizer.step()
                finite = not self.optimizer.step_was_skipped
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if finite:
            self.ema.step(self.parameters)
            self.skipped_in_a_row = 0
            return
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row == MOST_SKIPS:
            raise DivergedError(
                f"{self.out.name}: the loss or its gradient was not finite in {MOST_SKIPS} steps in a row, the last "
                f"is step {self.step}. Lower learning_rate, or set mixed_precision: fp32"
            )

    # --- validation ---

    def _pause(self) -> None:
        """Writes a checkpoint, validates the averaged weights, and writes them into the bundle."""
        start = time.monotonic()
        self.save()
        if self.accelerator.is_main_process:
            with checkpoint.kept_random_state(self.stage), self._averaged(), torch.no_grad():
                with self.accelerator.autocast():
                    figures = self.stage.validate()
                    pictures = self.stage.pictures() if hasattr(self.stage, "pictures") else {}
                self.stage.save(self.bundle)
            self.saved(self.step, self.elapsed / 60)
            self.log.validation(self.step, self.elapsed / 60, figures)
            if pictures:
                self.log.picture(self.step, picture_columns(pictures))
        self.accelerator.wait_for_everyone()
        seconds = time.monotonic() - start
        (seconds,) = self._agree(seconds)
        self.cost = max(self.cost, seconds)
        self.elapsed += seconds

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Inside, the network has the averaged weights and is in evaluation mode."""
        self.ema.store(self.parameters)
        self.ema.copy_to(self.parameters)
        self.stage.network.eval()
        try:
            yield
        finally:
            self.stage.network.train()
            self.ema.restore(self.parameters)


class _Means:
    """Means of figures by name, which wait for the device only when they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}
        self._counts: dict[str, int] = {}

    def add(self, batches: list[dict[str, Any]]) -> None:
        for name, value in (item for figures in batches for item in figures.items()):
            value = value.detach() if isinstance(value, Tensor) else value
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        means = {name: float(value) / self._counts[name] for name, value in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


def run(
    stage: Stage,
    crops: Crops,
    config: LoopConfig,
    out: Path,
    bundle: Path,
    saved: Saved = lambda steps, minutes: None,
) -> bool:
    """Trains until the budget is used up or until Ctrl-C, then saves the stage's averaged weights into the bundle.

    A stopped run continues from `out/checkpoint.pt`: weights, optimiser, EMA, step, time, all random states and the
    place in the stream of batches. With a budget of steps, and on the same machine with the same number of processes
    and threads, it ends with exactly the weights that it would have without the stop. On a GPU the weights are nearly
    the same, even with `deterministic`, since some algorithms there are not deterministic. Under `accelerate launch`
    each process trains on its own batches, and gradients are averaged.

    Args:
        stage: the networks and their loss.
        crops: makes the training batches.
        config: see `LoopConfig`.
        out: folder of the checkpoint, train.csv, validation.csv, pictures/ and tensorboard/.
        bundle: folder of the model to write.
        saved: called in the main process each time that the model was written.

    Returns:
        True if the budget is used up, False if the run was stopped.

    Raises:
        DivergedError: ten losses in a row were not finite.
        CheckpointError: the checkpoint is damaged or another stage's.
    """
    return _Run(stage, config, out, bundle, saved).train(crops)
