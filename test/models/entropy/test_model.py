"""The prior that is trained: what it learns from, that its exact twin says the same, and what it stores."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdic_ros.codec.prior import load_prior
from mdic_ros.models.entropy.exact import ExactPrior, PriorError
from mdic_ros.models.entropy.model import EntropyModel

GRID = (8, 16)


def small(seed: int = 0, sharpness: float = 0.4, **config: object) -> EntropyModel:
    """Random weights with confident heads: exponentials reach far down their table."""
    torch.manual_seed(seed)
    defaults: dict[str, object] = {
        "codebook_size": 64,
        "grids": (0.25, 0.75, 1.0),
        "groups": (1, 2, 4),
        "dim": 32,
        "num_heads": 2,
        "num_layers": 2,
        "window": (4, 6),
        "token_dim": 8,
    }
    model = EntropyModel(**{**defaults, **config})
    for head in model.head:
        nn.init.normal_(head.weight, std=sharpness)
    return model.eval()


def tokens_for(model: EntropyModel, batch: int = 1, grid: tuple[int, int] = GRID, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    codes = model.config.codebook_size
    return [torch.randint(codes, (batch, *shape), generator=generator) for shape in model.grid_shapes(*grid)]


def same(first: ExactPrior, second: ExactPrior, tokens: list[Tensor]) -> bool:
    parts = zip(
        *([f for groups in p.frequencies([t[0].numpy() for t in tokens]) for f in groups] for p in (first, second))
    )
    return all(np.array_equal(a, b) for (a, _), (b, _) in parts)


def test_log_probs_and_cross_entropy_agree() -> None:
    model = small()
    tokens = tokens_for(model, batch=2)
    bits = model.cross_entropy(tokens)
    assert bits.shape == (2, 3)
    for k, log_probs in enumerate(model.log_probs(tokens)):
        assert log_probs.shape == (*tokens[k].shape, 64)
        chosen = log_probs.gather(-1, tokens[k][..., None]).sum((1, 2, 3)) / -math.log(2)
        torch.testing.assert_close(chosen, bits[:, k])
    torch.testing.assert_close(model.loss(tokens), bits.sum(1).mean())
    torch.testing.assert_close(model.cross_entropy(tokens[:2]), bits[:, :2])  # coarser rate points need no finer


def test_learns_from_coarser_scales_and_from_earlier_groups() -> None:
    """Scale 1 repeats scale 0; in scale 2 the checkerboard's second half repeats the token to its left."""
    model = small(codebook_size=16, grids=(0.5, 1.0, 1.0), groups=(1, 1, 2), window=(4, 8)).train()
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> list[Tensor]:
        coarse = torch.randint(16, (count, 2, 4), generator=generator)
        fine = torch.randint(16, (count, 4, 8), generator=generator)
        y, x = torch.arange(4)[:, None], torch.arange(8)[None, :]
        fine = torch.where((y + x) % 2 == 1, fine.roll(1, 2), fine)
        return [coarse, coarse.repeat_interleave(2, 1).repeat_interleave(2, 2), fine]

    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    for _ in range(300):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(draw(8))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    bits = model.eval().bits(draw(8)).mean(0)
    assert bits[0] < 4.6 * 8  # nothing to learn: four bits a token
    assert bits[1] < 0.5 * 32
    assert bits[2] < 4.6 * 16 + 2.0 * 16


def test_training_works_after_coding_in_inference_mode() -> None:
    model = small()
    tokens = tokens_for(model, grid=(4, 12))  # a grid no other test has cached
    with torch.inference_mode():
        model.cross_entropy(tokens)
        model.bits(tokens)
    model.train().loss(tokens).backward()
    assert all(p.grad is not None for p in model.blocks.parameters())  # type: ignore[attr-defined]


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = small()
    model.save_pretrained(tmp_path)
    tokens = tokens_for(model)
    loaded = EntropyModel.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.log_probs(tokens), loaded.log_probs(tokens), strict=True))
    assert same(model.exact(), load_prior(tmp_path), tokens)
    assert same(model.exact(), loaded.exact(), tokens)


@pytest.mark.parametrize("sharpness", [0.05, 0.2, 0.6])
def test_exactness_costs_next_to_nothing(sharpness: float) -> None:
    model = small(sharpness=sharpness, dim=64, num_layers=4)
    tokens, random = [], np.random.default_rng(0)
    for scale in model.exact().decoding(
        *GRID
    ):  # tokens as the prior expects them: rare ones do not drown the difference
        for frequencies in scale:
            scale.put(np.array([random.choice(64, p=row / row.sum()) for row in frequencies]))
        tokens.append(torch.from_numpy(scale.tokens)[None])
    with torch.no_grad():
        floating = model.cross_entropy(tokens).sum()
    assert abs(float(model.bits(tokens).sum() / floating) - 1) < 0.002


def test_bits_of_a_batch_are_those_of_its_images() -> None:
    model = small()
    tokens = tokens_for(model, batch=3)
    bits = model.bits(tokens)
    assert bits.shape == (3, 3) and bits.dtype == torch.float64
    for number in range(3):
        assert torch.equal(model.bits([grid[number : number + 1] for grid in tokens])[0], bits[number])
    assert torch.equal(model.bits(tokens[:2]), bits[:, :2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(PriorError, match="not float32"):
        small().to(dtype).exact()


def test_dropout_in_training_only() -> None:
    model = small(dropout=0.2)
    tokens = tokens_for(model)
    assert torch.equal(model.loss(tokens), model.loss(tokens))
    model.train()
    assert not torch.equal(model.loss(tokens), model.loss(tokens))


@pytest.mark.parametrize(
    "config",
    [{"groups": (1, 2)}, {"groups": (1, 2, 3)}, {"dim": 33}, {"window": (3, 8)}, {"grids": (), "groups": ()}],
)
def test_bad_configurations(config: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        small(**config)


def test_one_scale_is_the_papers_layout() -> None:
    model = small(grids=(1.0,), groups=(4,))
    tokens = tokens_for(model)
    assert F.relu(model.loss(tokens)) > 0
    assert model.bits(tokens).shape == (1, 1)
