"""The largest numbers that `Encoder` and `Decoder` take. Apart from them, for `--help`: nothing heavy is imported."""

from __future__ import annotations

from mdic_ros.errors import MdicError

#: Denoising steps. Pictures have stopped changing long before.
MAX_STEPS = 100
#: Seed of the noise: what fits a ROS parameter and every random generator.
MAX_SEED = 2**31 - 1
#: Threads. More than any machine gains by; each takes memory, and very many that start cannot be interrupted.
MAX_THREADS = 256


def check_threads(threads: int) -> None:
    """Raises MdicError unless `threads` is 0 (the library's default) to `MAX_THREADS`."""
    if not 0 <= threads <= MAX_THREADS:
        raise MdicError(f"{threads} threads cannot be had: take 1 to {MAX_THREADS}, or 0 for one for each core")
