"""Fixtures shared by all tests."""

import math
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from mdic_ros.models.entropy.exact import ExactPrior, exp_table
from mdic_ros.models.entropy.schedule import COLUMN_BINS, ROW_BINS, PriorSizes

if TYPE_CHECKING:
    from mdic_ros.codec import Decoder, Encoder

Tokens = npt.NDArray[np.int64]
Weights = dict[str, npt.NDArray[np.generic]]

# Under nohup SIGHUP is ignored, and would be in every process that a test starts. With a handler it is not: those start
# with the default.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# test/base is for an environment with the base install alone, see tools/base_env.py.
collect_ignore = ["base"] if find_spec("torch") else []


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of real modules in tiny sizes with random weights."""
    from mdic_ros.training.tiny import make_bundle

    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny", seed=0)


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second one with other weights, so another fingerprint."""
    from mdic_ros.training.tiny import make_bundle

    return make_bundle(tmp_path_factory.mktemp("bundles") / "other", seed=1)


@pytest.fixture(scope="session")
def encoder(tiny_bundle: Path) -> "Encoder":
    """Of the tiny bundle."""
    from mdic_ros.codec import Encoder

    return Encoder.from_pretrained(tiny_bundle)


@pytest.fixture(scope="session")
def decoder(tiny_bundle: Path) -> "Decoder":
    """Of the tiny bundle."""
    from mdic_ros.codec import Decoder

    return Decoder.from_pretrained(tiny_bundle)


# ------------------------------------------------------------------------------------------------------ priors
# With the same weights on every machine, for golden streams. NumPy only: a robot can run these tests, too.
SMALL = PriorSizes(  # small, but with everything: three groupings, a fraction, windows that do not fit the grids
    codebook_size=64, grids=(0.25, 0.5, 0.75, 1.0), groups=(1, 2, 4, 4), dim=32, num_heads=2, num_layers=2,
    window=(4, 6), token_dim=8,
)  # fmt: skip
FULL = PriorSizes(  # the schedule that the golden streams were written with
    codebook_size=1024, grids=(0.25, 0.5, 0.75, 1.0, 1.0), groups=(1, 2, 4, 4, 4), dim=128, num_heads=4, num_layers=4,
    window=(8, 16), token_dim=64,
)  # fmt: skip


def integers(count: int, seed: int) -> npt.NDArray[np.uint64]:
    """`count` uint64 by SplitMix64 (Steele et al. 2014): pure integer arithmetic, no library's generator."""
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed << 32)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def weight_shapes(sizes: PriorSizes) -> dict[str, tuple[int, ...]]:
    """Shape of every weight of an `EntropyModel`."""
    dim = sizes.dim
    found: dict[str, tuple[int, ...]] = {}

    def linear(name: str, inputs: int, outputs: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (outputs, inputs), (outputs,)

    for k in range(sizes.scales):
        found[f"embed.{k}"] = (sizes.codebook_size, sizes.token_dim)
        found[f"place.{k}"] = (4, dim)
        linear(f"known.{k}", sizes.token_dim, dim)
        linear(f"head.{k}", dim, sizes.codebook_size)
        if k + 1 < sizes.scales:
            linear(f"context.{k}", 9 * sizes.token_dim, dim)
    found["mask"] = found["scale"] = (sizes.scales, dim)
    found["row"], found["column"] = (ROW_BINS, dim), (COLUMN_BINS, dim)
    for number in range(sizes.num_layers):
        for name, inputs, outputs in (("qkv", 1, 3), ("out", 1, 1), ("up", 1, 2), ("down", 2, 1)):
            linear(f"blocks.{number}.{name}", inputs * dim, outputs * dim)
        found[f"blocks.{number}.bias"] = (sizes.num_heads, sizes.offsets)
    return found


def prior_weights(sizes: PriorSizes, sharpness: float = 0.5, seed: int = 0) -> Weights:
    """Weights from `integers`: multiples of 2^-24, so exact in float32 however they are computed."""
    weights: Weights = {"exp_table": np.array(exp_table(), np.int32)}
    for number, (name, shape) in enumerate(sorted(weight_shapes(sizes).items()), 1000 * seed):
        uniform = (integers(math.prod(shape), number) >> np.uint64(40)).astype(np.float64) / 2**23 - 1
        gain = 0.5 if len(shape) < 2 else 2.0 ** -round(math.log2(shape[1]) / 2)
        if name.startswith("head") and name.endswith("weight"):
            gain = sharpness
        weights[name] = (uniform * gain).reshape(shape).astype(np.float32)
    return weights


@pytest.fixture(scope="session", name="integers")
def _integers() -> Callable[[int, int], npt.NDArray[np.uint64]]:
    """The function `integers`."""
    return integers


@pytest.fixture(scope="session")
def weights_of() -> Callable[..., Weights]:
    """The function `prior_weights`."""
    return prior_weights


@pytest.fixture(scope="session")
def small_sizes() -> PriorSizes:
    return SMALL


@pytest.fixture(scope="session")
def small_prior() -> ExactPrior:
    return ExactPrior(SMALL, prior_weights(SMALL))


@pytest.fixture(scope="session")
def full_prior() -> ExactPrior:
    return ExactPrior(FULL, prior_weights(FULL))


@pytest.fixture(scope="session")
def draw() -> Callable[[ExactPrior, tuple[int, int], int], list[Tokens]]:
    def _draw(prior: ExactPrior, grid: tuple[int, int], seed: int) -> list[Tokens]:
        """Token grids: by turns uniform, biased to few codes, and all the same."""
        tokens = []
        for k, (h, w) in enumerate(prior.grid_shapes(*grid)):
            raw = integers(h * w, 1000 * seed + k) >> np.uint64(8)
            if seed % 3 == 1:
                raw = (raw % np.uint64(7)) * (raw % np.uint64(5))
            elif seed % 3 == 2:
                raw = np.full_like(raw, seed)
            tokens.append((raw % np.uint64(prior.codebook_size)).astype(np.int64).reshape(h, w))
        return tokens

    return _draw


def _image_message(pixels: np.ndarray, form: str, padding: int = 0, **changes: object) -> SimpleNamespace:
    """A `sensor_msgs/Image` with `padding` bytes of rubbish at the end of every row."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    padded = np.hstack([rows, np.full((height, padding), 0xAB, np.uint8)])
    fields = {
        "height": height,
        "width": width,
        "encoding": form,
        "is_bigendian": 0,
        "step": padded.shape[1],
        "data": padded.tobytes(),
    }
    return SimpleNamespace(**{**fields, **changes})


@pytest.fixture(scope="session")
def image_message():
    return _image_message
