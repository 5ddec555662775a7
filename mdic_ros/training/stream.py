"""The stream of training batches: made ahead in threads, and every batch a function of its number alone.

Batch n of process r is drawn with a generator seeded by (seed, r, n). So a run that continues at step n gets the same
batches as without the stop, with any number of threads, and no two processes get the same ones.
"""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import torch


class Crops(Protocol):
    """Makes training batches; called from several threads at once."""

    def sample(self, rng: np.random.Generator) -> Any:
        """A batch, a dataclass with tensors in it, that depends on nothing but the generator."""


def worker_threads(asked: int = 0, processes: int = 1) -> int:
    """How many threads make batches: `asked`, or for 0 all cores of this process's share but one, 1 to 8."""
    return asked or min(8, max(1, len(os.sched_getaffinity(0)) // processes - 1))


class BatchStream(Iterator[Any]):
    """Endless batches in order, from batch number `start` on; a context manager that ends its threads.

    Args:
        crops: what makes the batches.
        seed, rank: of the run, and number of this process.
        start: number of the first batch.
        workers: threads; as many batches and one more are kept ready.
        device: batches are copied there; through pinned memory, beside the computation, if it is a CUDA device.

    Raises:
        what `crops.sample` raises, at the batch where it did.
    """

    def __init__(
        self, crops: Crops, seed: int, rank: int, start: int, workers: int, device: torch.device | str = "cpu"
    ) -> None:
        self._crops, self._key, self._next = crops, (seed, rank), start
        self._device = torch.device(device)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
        self._ready: deque[Future[Any]] = deque()
        for _ in range(workers + 1):
            self._order()

    def _order(self) -> None:
        self._ready.append(self._pool.submit(self._make, self._next))
        self._next += 1

    def _make(self, number: int) -> Any:
        batch = self._crops.sample(np.random.default_rng((*self._key, number)))
        return _map_tensors(batch, torch.Tensor.pin_memory) if self._device.type == "cuda" else batch

    def __next__(self) -> Any:
        batch = self._ready.popleft().result()
        self._order()
        if self._device.type == "cpu":
            return batch
        return _map_tensors(batch, lambda t: t.to(self._device, non_blocking=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _map_tensors(batch: Any, change: Any) -> Any:
    """The dataclass with its tensors changed."""
    tensors = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    return dataclasses.replace(batch, **{k: change(v) for k, v in tensors.items() if isinstance(v, torch.Tensor)})
