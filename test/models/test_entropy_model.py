"""The prior: its schedule and causality, and that its exact evaluation is exact."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdic_ros.models import entropy_model
from mdic_ros.models.entropy_model import EntropyModel, ExactPrior, InexactWeightsError, _Exact, _schedule, _Step

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


def all_frequencies(model: EntropyModel, tokens: list[Tensor]) -> list[Tensor]:
    return [frequencies for groups in ExactPrior(model).frequencies(tokens) for frequencies, _ in groups]


# ------------------------------------------------------------------------------------------------ schedule
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("grid", [(1, 1), (1, 9), (2, 4), (7, 5), (8, 16), (9, 33), (20, 50)])
def test_schedule_codes_each_position_once_in_raster_order(grid: tuple[int, int], groups: int) -> None:
    steps = _schedule(*grid, groups, (8, 16), torch.device("cpu"))
    assert 1 <= len(steps) <= groups
    positions = [step.positions for step in steps]
    assert torch.equal(torch.cat(positions).sort().values, torch.arange(grid[0] * grid[1]))
    for step in steps:
        assert (step.positions.diff() > 0).all()
        assert torch.equal(step.query.flatten()[step.slots], step.positions)
        rows = step.query.shape[1] + (0 if step.known is None else step.known.shape[1])
        assert step.allowed.shape[1] == step.offset.shape[1] == rows
        assert int(step.offset.min()) >= 0 and int(step.offset.max()) < 15 * 31


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 15, 17, 18, 60, 68])
def test_windows_are_few_even_and_complete(size: int) -> None:
    windows = entropy_model._windows(size, 8)
    assert [i for window in windows for i in window] == list(range(size))
    assert len(windows) == math.ceil(size / 8)
    assert all(len(window) <= 8 and window.start % 2 == 0 for window in windows)


def test_grid_shapes() -> None:
    shapes = [(2, 4), (4, 8), (6, 12), (8, 16), (8, 16)]
    assert small(grids=(0.25, 0.5, 0.75, 1, 1), groups=(1, 2, 4, 4, 4)).grid_shapes(8, 16) == shapes
    assert small(grids=(0.1, 1 / 3), groups=(1, 1)).grid_shapes(4, 9) == [(1, 1), (2, 3)]


def test_a_token_is_predicted_from_earlier_groups_only() -> None:
    model = small()
    tokens = tokens_for(model)
    before = list(ExactPrior(model).frequencies(tokens))
    for scale in range(model.scales):
        for group, (_, positions) in enumerate(before[scale]):
            other = [grid.clone() for grid in tokens]
            other[scale].view(-1)[positions] = (other[scale].view(-1)[positions] + 1) % 64
            after = list(ExactPrior(model).frequencies(other))
            for k in range(model.scales):
                for g, ((a, _), (b, _)) in enumerate(zip(before[k], after[k], strict=True)):
                    assert torch.equal(a, b) == ((k, g) <= (scale, group)), (scale, group, k, g)


# ------------------------------------------------------------------------------------------------ exactness
class _Integers(_Exact):
    """The same evaluation in NumPy's int64: no float anywhere, so nothing that could round unnoticed."""

    @staticmethod
    def _halves_even(numerator: np.ndarray, denominator: np.ndarray | int) -> np.ndarray:
        floor, rest = np.divmod(numerator, denominator)
        up = (2 * rest > denominator) | ((2 * rest == denominator) & (floor % 2 == 1))
        return floor + up

    @staticmethod
    def _int(x: Tensor) -> np.ndarray:
        assert torch.equal(x, x.round())
        return x.numpy().astype(np.int64)

    def _product(self, x: Tensor, layer: nn.Linear) -> Tensor:
        weight, bias = self._linear[id(layer)]
        total = self._int(x) @ self._int(weight * 2.0**16) + (self._int(bias) << 16)
        return torch.from_numpy(self._halves_even(total, 1 << 16).astype(np.float64))

    def norm(self, x: Tensor) -> Tensor:
        values = self._int(x)
        total = (values * values).sum(-1, keepdims=True) + int(self.norm_eps)
        root = np.vectorize(math.isqrt, otypes=[np.int64])(total)
        return torch.from_numpy(self._halves_even(values * int(self.norm_one), root).astype(np.float64))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: nn.Parameter, step: _Step) -> Tensor:
        queries, keys, values = (self._int(t) for t in (q, k, v))
        unit = round(1 / self.score_unit)
        scores = self._halves_even(queries @ keys.swapaxes(-1, -2), unit)
        scores += self._int(self._masked_bias(bias, step))[..., -q.shape[-2] :, :]
        distance = np.minimum(scores.max(-1, keepdims=True) - scores, entropy_model.EXP_ENTRIES)
        weights = self._int(self.exp)[distance]
        mixed = self._halves_even(weights @ values, weights.sum(-1, keepdims=True))
        return torch.from_numpy(mixed.astype(np.float64))


@pytest.mark.parametrize("config", [{}, {"dim": 128, "num_heads": 4, "codebook_size": 256}])
def test_integer_arithmetic_gives_the_same_bits(config: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(**config)
    tokens = tokens_for(model, batch=2)
    expected = all_frequencies(model, tokens)
    monkeypatch.setattr(entropy_model, "_Exact", _Integers)
    found = all_frequencies(model, tokens)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert all((a == a.round()).all() and a.min() >= 1 and a.max() == 2**24 for a in expected)


def test_order_of_summation_does_not_matter() -> None:
    """The same weights with inner dimensions permuted: other orders of summation, other blocks, same bits."""
    model = small()
    other = EntropyModel.from_config(model.config)
    other.load_state_dict(model.state_dict())
    width = model.blocks[0].up.out_features
    with torch.no_grad():
        for block in other.blocks:
            order = torch.randperm(width, generator=torch.Generator().manual_seed(1))
            block.up.weight.copy_(block.up.weight[order])
            block.up.bias.copy_(block.up.bias[order])
            block.down.weight.copy_(block.down.weight[:, order])
        order = torch.randperm(8, generator=torch.Generator().manual_seed(2))
        for k, embed in enumerate(other.embed):
            embed.copy_(embed[:, order])
            other.known[k].weight.copy_(other.known[k].weight[:, order])
            if k < len(other.context):
                taps = other.context[k].weight.unflatten(1, (9, 8))[:, :, order]
                other.context[k].weight.copy_(taps.flatten(1))
    tokens = tokens_for(model)
    pairs = zip(all_frequencies(model, tokens), all_frequencies(other, tokens), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_decoding_sees_what_encoding_saw() -> None:
    model = small()
    for grid in ((8, 16), (4, 4), (12, 20), (20, 44)):
        tokens = tokens_for(model, grid=grid)
        prior = ExactPrior(model)
        for scale, groups in zip(prior.decoding(*grid), prior.frequencies(tokens), strict=True):
            for frequencies, (expected, positions) in zip(scale, groups, strict=True):
                assert torch.equal(frequencies, expected[0])
                scale.put(tokens[scale.scale].flatten()[positions])
            assert torch.equal(scale.tokens, tokens[scale.scale])


def test_large_images_in_parts_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    tokens = tokens_for(model, batch=2)
    expected = all_frequencies(model, tokens)
    monkeypatch.setattr(entropy_model, "ROWS_AT_ONCE", 1)
    found = all_frequencies(model, tokens)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("sharpness", [0.05, 0.2, 0.6])
def test_exactness_costs_next_to_nothing(sharpness: float) -> None:
    model = small(sharpness=sharpness, dim=64, num_layers=4)
    prior, tokens = ExactPrior(model), []
    generator = torch.Generator().manual_seed(0)
    for scale in prior.decoding(*GRID):  # tokens as the prior expects them: rare ones do not drown the difference
        for frequencies in scale:
            scale.put(torch.multinomial(frequencies.float(), 1, generator=generator)[:, 0])
        tokens.append(scale.tokens.clone())
    with torch.no_grad():
        floating = model.cross_entropy(tokens).sum()
    assert abs(float(model.bits(tokens).sum() / floating) - 1) < 0.002


def test_exponential_table() -> None:
    table = EntropyModel(codebook_size=4, grids=(1,), groups=(1,), dim=8, num_heads=1, num_layers=1).exp_table
    expected = [2**24 * math.exp(-d / 256) for d in range(4096)]
    assert table.dtype == torch.int32 and table[0] == 2**24 and table.min() >= 1
    assert (table.double() - torch.tensor(expected, dtype=torch.float64)).abs().max() <= 0.5 + 1e-6


def test_bounds_hold_on_the_largest_numbers() -> None:
    """Every clamp at its limit: the sums that the docstring of `_Exact` bounds stay exact."""
    ops = ExactPrior(small(dim=128, num_heads=1, window=(8, 16)))._ops
    top = torch.full((1, 128), ops.STREAM_MAX, dtype=torch.float64)
    normed = ops.norm(top)
    assert normed.abs().max() <= 2 * ops.norm_one
    assert int((top.long() ** 2).sum()) == int(top.square().sum()) < 2**53
    columns = 2 * 8 * 16
    weights = torch.full((1, columns), float(2**24), dtype=torch.float64)
    values = torch.full((columns, 1), ops.QKV_MAX, dtype=torch.float64)
    assert int((weights @ values)[0, 0]) == columns * 2**24 * int(ops.QKV_MAX) < 2**53
    q = torch.full((1, 1, 1, 128), ops.QKV_MAX, dtype=torch.float64)
    assert float((q @ q.transpose(-1, -2)).abs().max()) * ops.score_unit < abs(ops.NEVER) / 2


@pytest.mark.parametrize("kind", ["large", "nan", "infinite", "half", "table"])
def test_weights_that_cannot_be_exact_are_refused(kind: str) -> None:
    model = small()
    with torch.no_grad():
        if kind == "large":
            model.blocks[1].down.weight[3, 4] = 2.0**20
        elif kind == "nan":
            model.mask[0, 0] = math.nan
        elif kind == "infinite":
            model.head[1].bias[2] = math.inf
        elif kind == "half":
            model = model.half()
        else:
            model.exp_table[7] = 0
    with pytest.raises(InexactWeightsError):
        ExactPrior(model)


def test_activations_beyond_every_clamp_stay_exact() -> None:
    """Weights near the largest that are let in: clamps are hit everywhere, and orders of summation still agree."""
    model = small(sharpness=30.0)
    with torch.no_grad():
        for block in model.blocks:
            for layer in (block.qkv, block.out, block.up, block.down):
                layer.weight.mul_(40)
        for embed in model.embed:
            embed.mul_(50)
    tokens = tokens_for(model)
    prior = ExactPrior(model)
    groups = list(prior.frequencies(tokens))
    for scale, expected in zip(prior.decoding(*GRID), groups, strict=True):
        for frequencies, (known, positions) in zip(scale, expected, strict=True):
            assert torch.equal(frequencies, known[0]) and torch.isfinite(frequencies).all()
            scale.put(tokens[scale.scale].flatten()[positions])


# ------------------------------------------------------------------------------------------------ training
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
        model.bits(tokens)
    model.train().loss(tokens).backward()
    assert all(p.grad is not None for p in model.blocks.parameters())  # type: ignore[attr-defined]


def test_coding_leaves_the_callers_modes_alone() -> None:
    model = small()
    frequencies = ExactPrior(model).frequencies(tokens_for(model))
    with torch.autocast("cpu", torch.bfloat16):
        for _ in frequencies:
            assert torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = small()
    model.save_pretrained(tmp_path)
    loaded = EntropyModel.from_pretrained(tmp_path)
    tokens = tokens_for(model)
    pairs = zip(all_frequencies(model, tokens), all_frequencies(loaded, tokens), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


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
