"""The prior as it is trained: a transformer over the token grids, in floating point, differentiable.

A transformer prior over the indices (paper: dimension 128, 4 heads, 4 blocks) drives the range coder. What is ours is
the coding schedule (`schedule`) and that encoder and decoder evaluate it in fixed-point numbers (`exact`), which are
the same on every machine.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mdic_ros.models.entropy import schedule
from mdic_ros.models.entropy.exact import NORM_EPS, ExactPrior, PriorError, exp_table
from mdic_ros.models.entropy.schedule import COLUMN_BINS, ROW_BINS, PriorSizes

_Context = tuple[tuple[int, int], Tensor]  # a token grid, and what the finer ones use of it: (B, h * w, dim)
_Cache = dict[int, tuple[Tensor, Tensor]]  # scale -> keys and values (B, nW, heads, columns, head_dim) of known tokens


class _Step:
    """`schedule.Step` as tensors on a device, with `allowed` and `offset` of each window (nW or 1, R, C)."""

    def __init__(self, step: schedule.Step, device: torch.device) -> None:
        windows = step.pattern if len(step.allowed) > 1 else slice(None)
        self.known, self.query, self.slots, self.positions, self.allowed, self.offset = (
            torch.from_numpy(array).to(device)
            for array in (
                step.known, step.query, step.slots, step.positions, step.allowed[windows], step.offset[windows]
            )
        )  # fmt: skip


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)  # cached: must not become inference tensors, which training cannot use
def _steps(h: int, w: int, groups: int, window: tuple[int, ...], device: torch.device) -> tuple[_Step, ...]:
    return tuple(_Step(step, device) for step in schedule.schedule(h, w, groups, window))


@functools.lru_cache(maxsize=256)
@torch.inference_mode(False)
def _nearest(fine: tuple[int, int], coarse: tuple[int, int], device: torch.device) -> Tensor:
    return torch.from_numpy(schedule.nearest(fine, coarse)).to(device)


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
def _places(h: int, w: int, device: torch.device) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(array).to(device) for array in schedule.places(h, w))


class _Block(nn.Module):
    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, offsets: int, layers: int):
        super().__init__()
        hidden = round(dim * mlp_ratio)
        self.qkv = _linear(dim, 3 * dim)
        self.out = _linear(dim, dim, gain=1 / math.sqrt(2 * layers))
        self.up = _linear(dim, hidden)
        self.down = _linear(hidden, dim, gain=1 / math.sqrt(2 * layers))
        self.bias = _parameter(num_heads, offsets, std=0.02)


def _linear(inputs: int, outputs: int, gain: float = 1.0) -> nn.Linear:
    # float32 whatever the default dtype is: exact evaluation starts from the stored float32 numbers.
    layer = nn.Linear(inputs, outputs, dtype=torch.float32)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(inputs))
    nn.init.zeros_(layer.bias)
    return layer


def _parameter(*shape: int, std: float) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape, dtype=torch.float32) * std)


def _modules(items: Iterable[nn.Module]) -> Any:
    return nn.ModuleList(items)  # typed by the annotations of the attributes it is assigned to


def _parameters(items: Iterable[nn.Parameter]) -> Any:
    return nn.ParameterList(items)


class EntropyModel(ModelMixin, ConfigMixin):
    """Transformer prior over multi-scale token indices.

    The paper's entropy model has dimension 128, 4 heads and 4 blocks.

    Args:
        codebook_size: number of codes of every grid; indices are 0 .. codebook_size - 1.
        grids: one entry per scale, coarse to fine: the side of the token grid as a fraction of the feature
            grid.
        groups: coding passes per scale: 1 (all at once), 2 (checkerboard) or 4 (places of a 2x2 pattern).
        dim: width. num_heads: attention heads. num_layers: blocks. mlp_ratio: hidden width of the MLP over
            `dim`.
        window: rows and columns of the largest attention window, in tokens; larger grids are cut into
            windows.
        token_dim: width of the token embedding that known tokens and finer scales see.
        dropout: on embeddings and branches, in training mode only.

    Raises:
        ValueError: sizes that make no prior (see `PriorSizes`).
    """

    embed: Sequence[nn.Parameter]
    context: Sequence[nn.Linear]
    known: Sequence[nn.Linear]
    place: Sequence[nn.Parameter]
    blocks: Sequence[_Block]
    head: Sequence[nn.Linear]
    exp_table: Tensor

    @register_to_config
    def __init__(
        self,
        codebook_size: int = 1024,
        grids: Sequence[float] = (0.25, 0.5, 0.75, 1.0, 1.0),
        groups: Sequence[int] = (1, 2, 2, 2, 2),
        dim: int = 128,
        num_heads: int = 4,
        num_layers: int = 4,
        mlp_ratio: float = 2.0,
        window: Sequence[int] = (8, 16),
        token_dim: int = 64,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.sizes = sizes = PriorSizes(
            codebook_size, tuple(grids), tuple(groups), dim, num_heads, num_layers, tuple(window), token_dim
        )
        scales = range(sizes.scales)
        self.embed = _parameters(_parameter(codebook_size, token_dim, std=1.0) for _ in scales)
        self.context = _modules(_linear(9 * token_dim, dim, gain=0.5) for _ in scales[:-1])
        self.known = _modules(_linear(token_dim, dim) for _ in scales)
        self.mask = _parameter(sizes.scales, dim, std=0.5)
        self.scale = _parameter(sizes.scales, dim, std=0.5)
        self.row = _parameter(ROW_BINS, dim, std=0.2)
        self.column = _parameter(COLUMN_BINS, dim, std=0.2)
        self.place = _parameters(_parameter(4, dim, std=0.2) for _ in scales)
        self.blocks = _modules(_Block(dim, num_heads, mlp_ratio, sizes.offsets, num_layers) for _ in range(num_layers))
        self.head = _modules(_linear(dim, codebook_size, gain=0.1) for _ in scales)
        self.register_buffer("exp_table", torch.tensor(exp_table(), dtype=torch.int32))

    @property
    def scales(self) -> int:
        """Number of token grids S."""
        return self.sizes.scales

    def grid_shapes(self, h: int, w: int) -> list[tuple[int, int]]:
        """Token grids (h_k, w_k), coarse to fine, of a feature grid h x w."""
        return self.sizes.grid_shapes(h, w)

    def exact(self) -> ExactPrior:
        """The evaluation that drives the coder, with a copy of the weights as they are now.

        Raises:
            PriorError: weights that cannot be evaluated exactly.
        """
        weights = {}
        for name, weight in self.state_dict().items():
            if weight.dtype == torch.bfloat16:  # which NumPy does not know
                raise PriorError(f"entropy model: {name} is bfloat16, not float32")
            weights[name] = weight.detach().cpu().numpy()
        return ExactPrior(self.sizes, weights)

    def bits(self, indices: Sequence[Tensor]) -> Tensor:
        """(B, S) float64 bits by the exact frequencies that drive the range coder, on the CPU. No gradient.

        Args as `log_probs`.
        """
        prior = self.exact()
        images = zip(*([image.cpu().numpy() for image in tokens] for tokens in indices), strict=True)
        return torch.stack([torch.from_numpy(prior.bits(image)) for image in images])

    def log_probs(self, indices: Sequence[Tensor]) -> list[Tensor]:
        """Natural-log probabilities of every code at every position under the coding schedule, differentiable.

        Args:
            indices: per scale (B, h_k, w_k) int64 in 0 .. codebook_size - 1; the first scales only is
                allowed.

        Returns:
            per scale (B, h_k, w_k, codebook_size) float32.
        """
        result = []
        for logits, steps, tokens in self._all_steps(indices):
            order = torch.cat([step.positions for step in steps]).argsort()
            dense = torch.cat(logits, 1)[:, order]
            result.append(F.log_softmax(dense.float(), -1).unflatten(1, tokens.shape[1:]))
        return result

    def cross_entropy(self, indices: Sequence[Tensor]) -> Tensor:
        """(B, S) bits of each scale of each image, in floating point, differentiable. Args as `log_probs`."""
        bits = []
        for logits, steps, tokens in self._all_steps(indices):
            target = tokens.flatten(1)[:, torch.cat([step.positions for step in steps])]
            flat = torch.cat(logits, 1).float()
            nats = F.cross_entropy(flat.flatten(0, 1), target.flatten(), reduction="none")
            bits.append(nats.view(target.shape).sum(1) / math.log(2))
        return torch.stack(bits, 1)

    def loss(self, indices: Sequence[Tensor]) -> Tensor:
        """Scalar: mean over the batch of the bits per image, all scales together. Args as `log_probs`."""
        return self.cross_entropy(indices).sum(1).mean()

    def forward(self, indices: Sequence[Tensor]) -> Tensor:
        """Same as `cross_entropy`."""
        return self.cross_entropy(indices)

    # ------------------------------------------------------------------------------------------- the network
    def _all_steps(self, indices: Sequence[Tensor]) -> Iterator[tuple[list[Tensor], tuple[_Step, ...], Tensor]]:
        """Every pass of every scale, all tokens known: (logits per pass (B, n, K), passes, tokens)."""
        device = self.mask.device
        contexts: list[_Context] = []
        scales: list[tuple[_Step, ...]] = []
        rows: list[Tensor] = []
        for k, tokens in enumerate(indices):
            grid = (tokens.shape[1], tokens.shape[2])
            scales.append(_steps(*grid, self.sizes.groups[k], self.sizes.window, device))
            base = self._base(k, contexts, grid)
            rows += [self._rows(k, step, base, tokens.flatten(1)) for step in scales[-1]]
            if k + 1 < len(indices):
                contexts.append((grid, self._tell(k, tokens)))
        queries = iter(self._trunk(rows, [(k, step) for k, steps in enumerate(scales) for step in steps]))
        for k, steps in enumerate(scales):
            flat = [next(queries).flatten(1, 2)[:, step.slots] for step in steps]
            yield [self.head[k](_norm(x)) for x in flat], steps, indices[k]

    def _tell(self, k: int, tokens: Tensor) -> Tensor:
        """What the finer scales use of scale k: (B, h * w, dim) from each token and its eight neighbours."""
        h, w = tokens.shape[1:]
        padded = F.pad(self.embed[k][tokens], (0, 0, 1, 1, 1, 1))
        around = [padded[:, dy : dy + h, dx : dx + w] for dy in range(3) for dx in range(3)]
        told: Tensor = self.context[k](torch.cat(around, -1).flatten(1, 2))
        return told

    def _base(self, k: int, contexts: Sequence[_Context], grid: tuple[int, int]) -> Tensor:
        """(B or 1, h * w, dim): what is known about each position before any token of scale k."""
        rows, columns, places = _places(*grid, self.mask.device)
        base = (self.row[rows] + self.column[columns] + self.place[k][places] + self.scale[k])[None]
        for coarse, context in contexts:
            base = base + context[:, _nearest(grid, coarse, self.mask.device)]
        return base

    def _rows(self, k: int, step: _Step, base: Tensor, tokens: Tensor) -> Tensor:
        """(B, nW, R, dim) input of one pass."""
        base = base.expand(tokens.shape[0], -1, -1)
        rows = base[:, step.query] + self.mask[k]
        if step.known.shape[1]:
            embedded = self.embed[k][tokens[:, step.known]]
            rows = torch.cat([base[:, step.known] + self.known[k](embedded), rows], 2)
        return self._drop(rows)

    def _trunk(self, rows: Sequence[Tensor], plan: Sequence[tuple[int, _Step]]) -> list[Tensor]:
        """All blocks over the rows of all passes, (B, nW, R, dim) each -> their queries, (B, nW, L, dim) each."""
        x, shapes = _join(rows), [part.shape for part in rows]
        for block in self.blocks:
            qkv = _split(block.qkv(_norm(x)), shapes)
            if block is self.blocks[-1]:  # only the queries go through to the end
                parts = zip(_split(x, shapes), plan, strict=True)
                queries = [part[:, :, step.known.shape[1] :] for part, (_, step) in parts]
                x, shapes = _join(queries), [part.shape for part in queries]
            cache: _Cache = {}
            mixed = [
                self._attend(block, cache, k, step, part, shape[2])
                for part, shape, (k, step) in zip(qkv, shapes, plan, strict=True)
            ]
            x = x + self._drop(block.out(_join(mixed)))
            x = x + self._drop(block.down(F.relu(block.up(_norm(x)))))
        return _split(x, shapes)

    def _attend(self, block: _Block, cache: _Cache, k: int, step: _Step, qkv: Tensor, rows: int) -> Tensor:
        """Attention of one pass: qkv (B, nW, R, 3 * dim) of all its rows -> (B, nW, rows, dim) of the last ones."""
        heads = qkv.unflatten(-1, (3, self.sizes.num_heads, -1))
        q, keys, values = heads.permute(3, 0, 1, 4, 2, 5).unbind(0)  # (B, nW, heads, R, head_dim)
        if k in cache:
            keys, values = (torch.cat(pair, -2) for pair in zip(cache[k], (keys, values), strict=True))
        seen = keys.shape[-2] - step.query.shape[1]
        cache[k] = keys[..., :seen, :], values[..., :seen, :]
        scores = (q[..., -rows:, :] @ keys.transpose(-1, -2)) * self.sizes.attention_scale
        scores = scores + block.bias[:, step.offset[:, -rows:]].transpose(0, 1)  # (nW or 1, heads, rows, C)
        scores = scores.masked_fill(~step.allowed[:, None, -rows:], -1e4)
        return (scores.softmax(-1).to(values.dtype) @ values).transpose(2, 3).flatten(3)

    def _drop(self, x: Tensor) -> Tensor:
        p = self.config.dropout
        return F.dropout(x, p) if p and self.training else x


def _norm(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + NORM_EPS)


def _join(parts: Sequence[Tensor]) -> Tensor:
    """(B, nW, R, dim) each -> (all rows, dim)."""
    return torch.cat([part.flatten(0, 2) for part in parts])


def _split(x: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """(all rows, n) -> views (B, nW, R, n) of it, with B, nW and R of `shapes`."""
    parts = x.split([shape[:3].numel() for shape in shapes])
    return [part.view(*shape[:3], -1) for part, shape in zip(parts, shapes, strict=True)]
