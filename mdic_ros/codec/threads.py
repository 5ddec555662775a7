"""How many threads may be asked for."""

from __future__ import annotations

from mdic_ros.errors import MdicError

#: More than any machine gains by. Each takes memory, and a library that starts very many of them cannot be interrupted.
MAX_THREADS = 256


def check_threads(threads: int) -> None:
    """Raises MdicError unless `threads` is 0 (the library's default) to `MAX_THREADS`."""
    if not 0 <= threads <= MAX_THREADS:
        raise MdicError(f"{threads} threads cannot be had: take 1 to {MAX_THREADS}, or 0 for one for each core")
