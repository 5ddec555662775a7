"""Priors with the same weights on every machine and in every version of torch, for golden streams."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from mdic_ros.models.entropy_model import EntropyModel

FINGERPRINT = bytes(range(7, 39))


def integers(count: int, seed: int) -> np.ndarray:
    """`count` uint64 by SplitMix64 (Steele et al. 2014): pure integer arithmetic, no library's generator."""
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed << 32)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def fill(model: EntropyModel, sharpness: float = 0.5) -> EntropyModel:
    """Weights from `integers`: multiples of 2^-24, so exact in float32 however they are computed."""
    for number, (name, parameter) in enumerate(sorted(model.named_parameters())):
        uniform = (integers(parameter.numel(), number) >> np.uint64(40)).astype(np.float64) / 2**23 - 1
        gain = 0.5 if parameter.ndim < 2 else 2.0 ** -round(math.log2(parameter.shape[1]) / 2)
        if name.startswith("head") and name.endswith("weight"):
            gain = sharpness
        with torch.no_grad():
            parameter.copy_(torch.from_numpy((uniform * gain).reshape(parameter.shape)))
    return model.eval()


def small_config() -> dict[str, object]:
    """Small, but with everything: three groupings, a fraction, windows that do not fit the grids."""
    return {
        "codebook_size": 64,
        "grids": (0.25, 0.5, 0.75, 1.0),
        "groups": (1, 2, 4, 4),
        "dim": 32,
        "num_heads": 2,
        "num_layers": 2,
        "window": (4, 6),
        "token_dim": 8,
    }


@pytest.fixture(scope="session")
def small_prior() -> EntropyModel:
    return fill(EntropyModel(**small_config()))


@pytest.fixture(scope="session")
def full_prior() -> EntropyModel:
    return fill(EntropyModel(groups=(1, 2, 4, 4, 4)))  # the schedule that the golden streams were written with


@pytest.fixture(scope="session")
def draw() -> Callable[..., list[torch.Tensor]]:
    def _draw(prior: EntropyModel, grid: tuple[int, int], seed: int) -> list[torch.Tensor]:
        """Token grids: by turns uniform, biased to few codes, and all the same."""
        tokens, codes = [], prior.config.codebook_size
        for k, (h, w) in enumerate(prior.grid_shapes(*grid)):
            raw = integers(h * w, 1000 * seed + k) >> np.uint64(8)
            if seed % 3 == 1:
                raw = (raw % np.uint64(7)) * (raw % np.uint64(5))
            elif seed % 3 == 2:
                raw = np.full_like(raw, seed)
            tokens.append(torch.from_numpy((raw % np.uint64(codes)).astype(np.int64)).view(h, w))
        return tokens

    return _draw
