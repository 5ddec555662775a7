"""Temporary folders that go away however the process ends, except by SIGKILL.

Python removes them when an exception leaves their `with` block, which is what Ctrl-C raises. SIGTERM (timeout, docker
stop, systemd) and SIGHUP (a closed ssh session) end a process without one: while a folder is there, a handler removes
it and then lets the signal do what it does by default.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_folders: dict[Path, int] = {}  # and the process that made each
_handled: set[signal.Signals] = set()


@contextmanager
def temporary_folder(parent: Path | None = None, prefix: str = "mdic-") -> Iterator[Path]:
    """Makes a folder in `parent` (None: the system's place for temporary files) and removes it at the end.

    Raises:
        OSError: it cannot be made.
    """
    folder = Path(parent or tempfile.gettempdir()).absolute() / f"{prefix}{secrets.token_hex(4)}"
    _folders[folder] = os.getpid()  # first, so that a signal at any moment finds it
    try:
        _watch()
        folder.mkdir(0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        del _folders[folder]
        if not _folders:
            _unwatch()


def _watch() -> None:
    """Handles the signals, unless somebody does already (rclpy) or they are ignored (nohup)."""
    if threading.current_thread() is not threading.main_thread():
        return  # Python sets handlers in the main thread only
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _remove_and_end)
            _handled.add(number)


def _unwatch() -> None:
    if threading.current_thread() is threading.main_thread():
        for number in _handled:
            if signal.getsignal(number) is _remove_and_end:
                signal.signal(number, signal.SIG_DFL)
        _handled.clear()


def _remove_and_end(number: int, _: FrameType | None) -> None:
    for folder, owner in tuple(_folders.items()):
        if owner == os.getpid():  # not in a process that was forked
            shutil.rmtree(folder, ignore_errors=True)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@contextmanager
def signals_held() -> Iterator[None]:
    """Puts off the signals that end a process until the block is done, which must be short."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
