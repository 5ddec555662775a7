"""The frequencies of 1,000 frames and of 40 random models are those of version 0.1.0, to the last bit.

Nothing here needs data: tokens are drawn from the prior itself, so that they are as likely as those of pictures, and
weights and draws come from SplitMix64, which is the same on every machine.

The digests, in frequencies_0_1_0.json under "frames" and "models", were made by `digest` below with version 0.1.0's
prior in PyTorch: its `ExactPrior` of `EntropyModel.from_pretrained` with its models/mdic_tiny, or of
`EntropyModel(**sizes)` with the same weights. If a test here fails, streams of 0.1.0 can no longer be read.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from threadpoolctl import threadpool_limits

from mdic_ros.codec.prior import load_prior
from mdic_ros.models.entropy.exact import ExactPrior
from mdic_ros.models.entropy.schedule import PriorSizes
from mdic_ros.resources import resource

Tokens = npt.NDArray[np.int64]
Integers = Callable[[int, int], npt.NDArray[np.uint64]]
EXPECTED = json.loads((Path(__file__).parent / "frequencies_0_1_0.json").read_text())
#: Feature grids of ten frames in a row: mostly 128x256.
GRIDS = ((8, 16),) * 7 + ((4, 8), (12, 20), (16, 24))
BLOCK = 20  # frames of one digest


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As `EntropyCoder` has it: a second thread gains nothing, and beside other work costs ten times as much."""
    with threadpool_limits(1, user_api="blas"):
        yield


def drawn(prior: ExactPrior, grid: tuple[int, int], seed: int, integers: Integers) -> tuple[list[Tokens], str]:
    """Tokens drawn from the prior while it decodes, in whole numbers only; and the digest of all its frequencies."""
    tokens, found = [], hashlib.sha256()
    for k, scale in enumerate(prior.decoding(*grid)):
        random = (integers(scale.tokens.size, 1000 * seed + k) >> np.uint64(35)).astype(np.int64)  # below 2^29
        for frequencies in scale:
            found.update(frequencies.astype("<i8").tobytes())
            ends = frequencies.cumsum(1)
            some, random = random[: len(ends)], random[len(ends) :]
            scale.put((ends <= (some * ends[:, -1] >> 29)[:, None]).sum(1))
        tokens.append(scale.tokens)
    return tokens, found.hexdigest()


def encoded(prior: ExactPrior, tokens: list[Tokens]) -> str:
    """The digest of the frequencies with which these tokens are encoded."""
    found = hashlib.sha256()
    for groups in prior.frequencies(tokens):
        for frequencies, _ in groups:
            found.update(frequencies.astype("<i8").tobytes())
    return found.hexdigest()


def digest(prior: ExactPrior, frames: list[tuple[int, tuple[int, int]]], integers: Integers) -> str:
    """One digest of frames given by (seed, grid), of encoder and decoder, which must not differ."""
    found = hashlib.sha256()
    for seed, grid in frames:
        tokens, one = drawn(prior, grid, seed, integers)
        assert encoded(prior, tokens) == one
        found.update(one.encode())
    return found.hexdigest()


def random_sizes(seed: int, integers: Integers) -> PriorSizes:
    """One to five scales, all groupings, and whatever widths, windows and depths come."""
    n = [int(value) for value in integers(24, 10_000 + seed) >> np.uint64(33)]
    scales, heads = 1 + n[0] % 5, 1 + n[1] % 4
    return PriorSizes(
        codebook_size=16 + n[12] % 500,
        grids=tuple(sorted((0.25, 0.3, 0.5, 0.6, 0.75, 1.0)[v % 6] for v in n[2 : 2 + scales])),
        groups=tuple((1, 2, 4)[v % 3] for v in n[7 : 7 + scales]),
        dim=heads * (8 + 4 * (n[13] % 8)),
        num_heads=heads,
        num_layers=1 + n[14] % 4,
        window=(2 + 2 * (n[15] % 5), 2 + 2 * (n[16] % 8)),
        token_dim=4 + n[17] % 40,
    )


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, 10))])
def test_a_thousand_frames(integers: Integers, part: int) -> None:
    """A tenth of them at a time: every tenth block."""
    assert len(EXPECTED["frames"]) * BLOCK == 1000
    prior = load_prior(resource("models/mdic_tiny/entropy_model"))
    found = []
    for block in range(part, 50, 10):
        frames = [(number, GRIDS[number % len(GRIDS)]) for number in range(block * BLOCK, (block + 1) * BLOCK)]
        found.append(digest(prior, frames, integers))
    assert found == EXPECTED["frames"][part::10]


def test_random_models(integers: Integers, weights_of: Callable[..., dict[str, npt.NDArray[np.generic]]]) -> None:
    found = []
    for seed in range(40):
        sizes = random_sizes(seed, integers)
        weights = weights_of(sizes, sharpness=(0.25, 0.5, 2.0)[seed % 3], seed=100 + seed)
        frames = list(enumerate(((8, 16), (4, 12), (12, 20), (20, 44))))
        found.append(digest(ExactPrior(sizes, weights), frames, integers))
    assert found == EXPECTED["models"]
