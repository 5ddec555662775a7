"""One thread that owns the model, and a slot that holds the newest job.

The executor thread must never wait for the network: a callback that does delays parameter services, timers and the next
message alike, and a queue in front of a slow consumer only makes its results old. So the executor puts the newest job
into a slot, a worker takes it from there, and a job that is overtaken in the slot is dropped and counted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Worker(Generic[Job]):
    """Runs `process(job)` for the newest submitted job, one at a time, in one thread of its own.

    `on_overtaken(job)` is called (in the submitting thread) for a job that a newer one pushed out of the
    slot; `on_error(job, error)` (in the worker thread) when `process` raised: the worker itself goes on.
    """

    def __init__(
        self,
        process: Callable[[Job], None],
        *,
        on_overtaken: Callable[[Job], None],
        on_error: Callable[[Job, Exception], None],
        name: str = "worker",
    ) -> None:
        self._process = process
        self._on_overtaken = on_overtaken
        self._on_error = on_error
        self._slot: list[Job] = []  # empty, or the one job that waits
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Put `job` into the slot; it is ignored once `stop` was called."""
        with self._changed:
            if self._stopping:
                return
            overtaken = self._slot
            self._slot = [job]
            self._changed.notify()
        for old in overtaken:
            self._on_overtaken(old)

    def stop(self, timeout: float) -> bool:
        """Take no more jobs, forget the waiting one, wait at most `timeout` seconds for the running one.

        Returns True when the thread has ended.
        """
        with self._changed:
            self._stopping = True
            self._slot = []
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._slot)
                if self._stopping:
                    return
                job = self._slot.pop()
            try:
                self._process(job)
            except Exception as error:  # one bad frame must not end the stream
                self._on_error(job, error)
