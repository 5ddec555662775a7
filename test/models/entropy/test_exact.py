"""The prior's exact evaluation: that it is exact, the same in every way of computing it, and what 0.1.0 computed."""

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mdic_ros.codec.prior import load_prior
from mdic_ros.models.entropy import exact
from mdic_ros.models.entropy.exact import ExactPrior, PriorError, exp_table
from mdic_ros.models.entropy.schedule import PriorSizes
from mdic_ros.resources import resource

Tokens = npt.NDArray[np.int64]
Weights = dict[str, npt.NDArray[np.generic]]
Draw = Callable[[ExactPrior, tuple[int, int], int], list[Tokens]]
GRID = (8, 16)


def gained(weights: Weights, gain: float) -> Weights:
    """Weights near the largest that are let in: clamps are hit everywhere."""
    return {
        name: (weight * np.float32(gain)).astype(weight.dtype) if name.startswith(("blocks", "embed")) else weight
        for name, weight in weights.items()
    }


def passes(prior: ExactPrior, tokens: list[Tokens]) -> list[tuple[int, Tokens, Tokens]]:
    """(scale, frequencies, positions) of everything that is coded, in coding order."""
    return [(k, *found) for k, groups in enumerate(prior.frequencies(tokens)) for found in groups]


def equal(first: list[tuple[int, Tokens, Tokens]], second: list[tuple[int, Tokens, Tokens]]) -> bool:
    """Whether these are the same frequencies, however they were cut into parts."""
    return all(
        np.array_equal(np.concatenate([part[n] for part in first]), np.concatenate([part[n] for part in second]))
        for n in (1, 2)
    )


# --------------------------------------------------------------------------------------- what it must compute
@pytest.mark.parametrize("grid", [(8, 16), (4, 12), (12, 20)])
@pytest.mark.parametrize(
    ("change", "gain"),
    [
        ({}, 1),
        ({}, 40),
        ({"groups": (4, 2, 1, 2)}, 1),
        ({"dim": 96, "num_heads": 3, "num_layers": 1}, 1),
        ({"dim": 64, "num_heads": 1, "codebook_size": 300, "token_dim": 5, "window": (2, 10)}, 4),
    ],
)
def test_is_what_the_specification_says(
    reference: type, small_sizes: PriorSizes, weights_of: Callable[..., Weights], draw: Draw,
    change: dict[str, object], gain: int, grid: tuple[int, int],
) -> None:  # fmt: skip
    sizes = replace(small_sizes, **change)
    weights = gained(weights_of(sizes, seed=gain), gain)
    prior = ExactPrior(sizes, weights)
    tokens = draw(prior, grid, 3)
    expected = reference(sizes, weights).frequencies(tokens)
    for k, frequencies, positions in passes(prior, tokens):
        assert np.array_equal(frequencies, expected[k].reshape(-1, sizes.codebook_size)[positions])
        assert frequencies.min() >= 1 and (frequencies.max(1) == 2**24).all()


def digest(prior: ExactPrior, tokens: list[Tokens]) -> str:
    found = hashlib.sha256()
    for _, frequencies, _ in passes(prior, tokens):
        found.update(frequencies.astype("<i8").tobytes())
    return found.hexdigest()


def cases(weights_of: Callable[..., Weights], small: ExactPrior, full: ExactPrior) -> dict[str, list[ExactPrior]]:
    sizes = small.sizes
    odd = PriorSizes(96, (0.3, 0.6, 1.0), (4, 1, 2), 48, 3, 3, (6, 8), 12)
    return {
        "shipped": [load_prior(resource("models/mdic_tiny/entropy_model"))],
        "small": [small],
        "full": [full],
        "others": [ExactPrior(s, weights_of(s, seed=seed)) for seed in range(1, 6) for s in (sizes, odd)],
        "clamped": [ExactPrior(sizes, gained(weights_of(sizes, 30.0, seed=seed), 40)) for seed in range(6, 9)],
    }


@pytest.mark.parametrize("case", ["shipped", "small", "full", "others", "clamped"])
def test_is_what_0_1_0_computed(
    weights_of: Callable[..., Weights], small_prior: ExactPrior, full_prior: ExactPrior, draw: Draw, case: str
) -> None:
    """Digests of the frequencies that PyTorch gave in version 0.1.0. If this fails, streams can no longer be read."""
    expected = json.loads((Path(__file__).parent / "frequencies_0_1_0.json").read_text())[case]
    priors = cases(weights_of, small_prior, full_prior)[case]
    grids = [(8, 16), (4, 8), (24, 48)] if case in ("shipped", "full") else [(8, 16), (4, 12), (12, 20), (20, 44)]
    found = {f"{h}x{w}": [digest(p, draw(p, (h, w), seed)) for p in priors for seed in (0, 1, 2)] for h, w in grids}
    assert found == expected


# ------------------------------------------------------------------------------- the same however it is computed
def test_a_token_is_predicted_from_earlier_groups_only(small_prior: ExactPrior, draw: Draw) -> None:
    tokens = draw(small_prior, GRID, 3)
    before = passes(small_prior, tokens)
    for number, (k, _, positions) in enumerate(before):
        other = [grid.copy() for grid in tokens]
        other[k].ravel()[positions] = (other[k].ravel()[positions] + 1) % 64
        after = passes(small_prior, other)
        for later, ((_, a, _), (_, b, _)) in enumerate(zip(before, after, strict=True)):
            assert np.array_equal(a, b) == (later <= number), (number, later)


@pytest.mark.parametrize("gain", [1, 40])
def test_decoding_sees_what_encoding_saw(
    small_sizes: PriorSizes, weights_of: Callable[..., Weights], draw: Draw, gain: int
) -> None:
    prior = ExactPrior(small_sizes, gained(weights_of(small_sizes, 30.0 if gain > 1 else 0.5), gain))
    for grid in ((8, 16), (4, 4), (12, 20), (20, 44)):
        tokens = draw(prior, grid, 3)
        for k, (scale, groups) in enumerate(zip(prior.decoding(*grid), prior.frequencies(tokens), strict=True)):
            for frequencies, (expected, positions) in zip(scale, groups, strict=True):
                assert np.array_equal(frequencies, expected)
                scale.put(tokens[k].ravel()[positions])
            assert np.array_equal(scale.tokens, tokens[k])


def test_the_first_scales_alone_and_in_parts_give_the_same(
    small_prior: ExactPrior, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = draw(small_prior, (12, 20), 3)
    expected = passes(small_prior, tokens)
    for scales in range(1, 4):
        first = [part for part in expected if part[0] < scales]
        assert equal(passes(small_prior, tokens[:scales]), first)
    for rows, some in ((1, 5), (10**6, 10**6)):
        monkeypatch.setattr(exact, "ROWS_AT_ONCE", rows)
        monkeypatch.setattr(exact, "TOKENS_AT_ONCE", some)
        assert equal(passes(small_prior, tokens), expected)


def test_order_of_summation_does_not_matter(
    small_sizes: PriorSizes, weights_of: Callable[..., Weights], draw: Draw
) -> None:
    """The same weights with inner dimensions permuted: other orders of summation, other blocks, same bits."""
    weights, other = weights_of(small_sizes), weights_of(small_sizes)
    order = np.random.default_rng(1).permutation(64)
    for block in ("blocks.0", "blocks.1"):
        for name in (f"{block}.up.weight", f"{block}.up.bias"):
            other[name] = other[name][order]
        other[f"{block}.down.weight"] = other[f"{block}.down.weight"][:, order]
    order = np.random.default_rng(2).permutation(8)
    for k in range(4):
        other[f"embed.{k}"] = other[f"embed.{k}"][:, order]
        other[f"known.{k}.weight"] = other[f"known.{k}.weight"][:, order]
        if k < 3:
            taps = other[f"context.{k}.weight"].reshape(-1, 9, 8)[:, :, order]
            other[f"context.{k}.weight"] = taps.reshape(-1, 72)
    first, second = ExactPrior(small_sizes, weights), ExactPrior(small_sizes, other)
    tokens = draw(first, GRID, 3)
    assert equal(passes(first, tokens), passes(second, tokens))


DIGEST = """
import hashlib, numpy as np
from mdic_ros.codec.prior import load_prior
from mdic_ros.resources import resource
prior, found = load_prior(resource("models/mdic_tiny/entropy_model")), hashlib.sha256()
with np.errstate(all="raise"):
    tokens = [np.arange(h * w).reshape(h, w) * 37 % 1024 for h, w in prior.grid_shapes(8, 16)]
    for groups in prior.frequencies(tokens):
        for frequencies, _ in groups:
            found.update(frequencies.astype("<i8").tobytes())
print(found.hexdigest())
"""


def test_the_library_of_matrix_products_does_not_matter() -> None:
    """Kernels for other processors, with other blocks and with or without fused multiply-add; one and more threads."""
    digests = set()
    for core, threads in (("", "1"), ("", "3"), ("Haswell", "1"), ("Sandybridge", "2"), ("Prescott", "1")):
        chosen = {"OPENBLAS_NUM_THREADS": threads, **({"OPENBLAS_CORETYPE": core} if core else {})}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS")} | chosen
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1 and len(digests.pop().strip()) == 64


# ------------------------------------------------------------------------------------------------ bounds, errors
def test_exponential_table() -> None:
    table = np.array(exp_table())
    assert table[0] == 2**24 and table.min() >= 1
    assert np.abs(table - 2**24 * np.exp(-np.arange(4096) / 256)).max() <= 0.5 + 1e-6


def test_bounds_hold_on_the_largest_numbers(small_sizes: PriorSizes, weights_of: Callable[..., Weights]) -> None:
    """Every clamp at its limit: the sums that the module's docstring bounds stay exact."""
    sizes = replace(small_sizes, dim=128, num_heads=1, window=(8, 16))
    prior = ExactPrior(sizes, weights_of(sizes))
    top = np.full((1, 128), exact.STREAM_MAX)
    assert np.abs(prior._norm(top)).max() <= 2 * 2**12 * math.sqrt(128)
    assert int((top.astype(np.int64) ** 2).sum()) == int(np.einsum("ij,ij", top, top)) < 2**53
    columns = 2 * 8 * 16
    weights, values = np.full((1, columns), 2.0**24), np.full((columns, 1), exact.QKV_MAX)
    assert int((weights @ values)[0, 0]) == columns * 2**24 * int(exact.QKV_MAX) < 2**53
    for dim in range(8, 512):  # of one head; scores and the bias stay far from the ends of int32
        scale = replace(small_sizes, dim=dim, num_heads=1).attention_scale
        score = dim * exact.QKV_MAX**2 * exact.EXP_STEPS * scale / exact.ONE**2
        assert 2 * score + exact.STREAM_MAX + exact.EXP_ENTRIES < -exact.NEVER
        assert 2 * score + exact.STREAM_MAX - exact.NEVER < 2**31


@pytest.mark.parametrize("kind", ["large", "nan", "infinite", "half", "table", "short table", "missing", "shape"])
def test_weights_that_cannot_be_exact_are_refused(
    small_sizes: PriorSizes, weights_of: Callable[..., Weights], kind: str
) -> None:
    weights = weights_of(small_sizes)
    if kind == "large":
        weights["blocks.1.down.weight"][3, 4] = 2.0**20
    elif kind == "nan":
        weights["mask"][0, 0] = math.nan
    elif kind == "infinite":
        weights["head.1.bias"][2] = math.inf
    elif kind == "half":
        weights["row"] = weights["row"].astype(np.float16)
    elif kind == "table":
        weights["exp_table"][7] = 0
    elif kind == "short table":
        weights["exp_table"] = weights["exp_table"][:-1]
    elif kind == "missing":
        del weights["blocks.0.up.bias"]
    else:
        weights["head.0.weight"] = weights["head.0.weight"][:-1]
    with pytest.raises(PriorError, match="entropy model"):
        ExactPrior(small_sizes, weights)


def test_a_prior_too_wide_is_refused(small_sizes: PriorSizes, weights_of: Callable[..., Weights]) -> None:
    for sizes in (replace(small_sizes, dim=512), replace(small_sizes, window=(32, 32))):
        with pytest.raises(PriorError, match="too wide"):
            ExactPrior(sizes, weights_of(sizes))
