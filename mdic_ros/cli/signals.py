"""Signals that end a program: they must not leave files and processes behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


@contextmanager
def orderly_exit() -> Iterator[None]:
    """SIGTERM and SIGHUP end the program like an exception, so that files and processes are cleaned up.

    A SIGHUP that is ignored, as under nohup, stays ignored. Does nothing outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, _exit)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, _: FrameType | None) -> NoReturn:
    for other in (signal.SIGTERM, signal.SIGHUP):  # a second one must not break into the cleaning up
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(128 + number)
