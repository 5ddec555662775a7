"""The prior over the token grids, and its evaluation that is the same on every machine.

A transformer prior over the indices (paper: dimension 128, 4 heads, 4 blocks) drives the range coder. Three
things are ours. *Scales*: the grids are coded coarse to fine, each with all coarser grids as context.
*Schedule*: inside a grid the tokens are coded in groups by their place in a 2x2 pattern, a whole group in one
pass of the network (a fixed unmasking order, as in M2T, arXiv 2304.07313). *Exactness*: encoder and decoder
must compute the same frequencies to the last bit, on any device and with any number of threads, so the
network runs in fixed-point numbers there.

One forward pass is written once, over a small set of operations with two implementations:

* `_Float`: plain PyTorch, differentiable, friendly to autocast. For training.
* `_Exact`: integers carried in float64. For coding. Why this is exact is said at that class.

Groups are causal: a token of group g is predicted from the tokens of groups before g, so that all groups of all
scales can be evaluated in one pass where the tokens are known (training, encoder), and with a cache of keys and
values where they are not yet (decoder). Each position occurs up to twice in the sequence: as a *query* (its token
unknown; predicts it) and as a *known* token (seen by later groups).
"""

from __future__ import annotations

import contextlib
import decimal
import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

# Position in the whole grid, as a fraction, in this many bins: grids of any size share the embeddings.
ROW_BINS, COLUMN_BINS = 16, 32
# exp(-d / EXP_STEPS) for d = 0 .. EXP_ENTRIES - 1, times EXP_ONE, rounded: the only exponentials in exact
# mode.
EXP_STEPS, EXP_ENTRIES, EXP_ONE = 256, 4096, 2**24
NORM_EPS = 2.0**-12
# Scales are evaluated together until they have so many rows: small ones for speed; large ones one after the other,
# which keeps what lies between in the cache, bounds memory, and spares the finest where it is not asked for.
ROWS_AT_ONCE = 2**8
TOKENS_AT_ONCE = 1024  # and their frequencies made for so many tokens, when decoding


@functools.lru_cache(maxsize=1)
def _exp_table() -> tuple[int, ...]:
    # Decimal.exp is correctly rounded by its specification: the same table on every machine, unlike libm's
    # exp.
    with decimal.localcontext() as context:
        context.prec = 40
        step = decimal.Decimal(1) / EXP_STEPS
        return tuple(
            int((EXP_ONE * (-step * d).exp()).to_integral_value(decimal.ROUND_HALF_EVEN)) for d in range(EXP_ENTRIES)
        )


# ---------------------------------------------------------------------------------------- coding schedule
@dataclass(frozen=True, eq=False)
class _Step:
    """One pass: the tokens of group g - 1 enter as known tokens, those of group g are predicted.

    Windows are padded to equal length with slots that nothing attends to. nW: windows, L: slots of a group in
    a window, R = L_{g-1} + L_g: rows of the pass, C: key columns (known tokens so far, then the rows of the
    pass).
    """

    grid: tuple[int, int]
    known: Tensor | None  # (nW, L_{g-1}) position in the grid of each new known token; None in the first pass
    query: Tensor  # (nW, L_g) position in the grid of each query
    slots: Tensor  # (n,) the real queries among nW * L_g, in raster order of the grid: the coding order
    positions: Tensor  # (n,) their positions in the grid
    allowed: Tensor  # (nW or 1, R, C) bool: row may look at column
    offset: Tensor  # (nW or 1, R, C) index of the relative position in the bias table


def _windows(size: int, limit: int) -> list[range]:
    """Cuts `size` into the fewest windows of at most `limit` (even), as equal as even widths allow."""
    width = -(-size // -(-size // limit))
    width += width % 2  # so that the 2x2 pattern lies alike in all windows
    return [range(start, min(start + width, size)) for start in range(0, size, width)]


def _group(y: int, x: int, groups: int) -> int:
    if groups == 1:
        return 0
    if groups == 2:
        return (y + x) % 2
    return ((0, 2), (3, 1))[y % 2][x % 2]


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)  # cached: must not become inference tensors, which training cannot use
def _schedule(h: int, w: int, groups: int, window: tuple[int, int], device: torch.device) -> tuple[_Step, ...]:
    """The passes that code a grid of h x w tokens, less groups that so small a grid has no position for."""
    tiles = [(rows, columns) for rows in _windows(h, window[0]) for columns in _windows(w, window[1])]
    members = [
        [[(y, x) for y in ys for x in xs if _group(y, x, groups) == g] for ys, xs in tiles] for g in range(groups)
    ]
    members = [windows for windows in members if any(windows)]
    padded = []  # per group: (nW, L, 3) of y, x, valid
    for windows in members:
        length = max(map(len, windows))
        cells = [[(y, x, 1) for y, x in cells] + [(0, 0, 0)] * (length - len(cells)) for cells in windows]
        padded.append(torch.tensor(cells, dtype=torch.long))
    steps = []
    for g, query in enumerate(padded):
        rows = torch.cat(padded[max(0, g - 1) : g + 1], 1)
        keys = torch.cat(padded[: g + 1], 1)
        n_new, n_query = rows.shape[1] - query.shape[1], query.shape[1]
        allowed = keys[:, None, :, 2].bool().expand(-1, rows.shape[1], -1).clone()
        allowed[:, :n_new, keys.shape[1] - n_query :] = False  # known tokens do not look at queries
        delta = rows[:, :, None, :2] - keys[:, None, :, :2]
        # Padded slots can be anywhere in the grid; clamp only keeps their (unused) index in the table.
        dy = delta[..., 0].clamp(1 - window[0], window[0] - 1) + window[0] - 1
        dx = delta[..., 1].clamp(1 - window[1], window[1] - 1) + window[1] - 1
        offset = dy * (2 * window[1] - 1) + dx
        if (allowed == allowed[:1]).all() and (offset == offset[:1]).all():
            allowed, offset = allowed[:1], offset[:1]
        flat = (query[..., 0] * w + query[..., 1]).flatten()
        real = query[..., 2].flatten().nonzero()[:, 0]
        slots = real[flat[real].argsort()]
        known = padded[g - 1][..., 0] * w + padded[g - 1][..., 1] if g else None
        steps.append(
            _Step(
                grid=(h, w),
                known=None if known is None else known.to(device),
                query=flat.view(query.shape[:2]).to(device),
                slots=slots.to(device),
                positions=flat[slots].to(device),
                allowed=allowed.to(device),
                offset=offset.to(device),
            )
        )
    return tuple(steps)


@functools.lru_cache(maxsize=256)
@torch.inference_mode(False)  # cached: must not become inference tensors, which training cannot use
def _nearest(fine: tuple[int, int], coarse: tuple[int, int], device: torch.device) -> Tensor:
    """(h * w,) position in the coarse grid under the middle of each position of the fine grid."""
    rows, columns = (
        torch.arange(n).mul(2).add(1).mul(m).div(2 * n, rounding_mode="floor")
        for n, m in zip(fine, coarse, strict=True)
    )
    return (rows[:, None] * coarse[1] + columns).flatten().to(device)


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)  # cached: must not become inference tensors, which training cannot use
def _places(h: int, w: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """(h * w,) each: row bin, column bin, place in the 2x2 pattern."""
    y, x = torch.arange(h)[:, None], torch.arange(w)[None, :]
    rows = ((2 * y + 1) * ROW_BINS).div(2 * h, rounding_mode="floor").expand(h, w)
    columns = ((2 * x + 1) * COLUMN_BINS).div(2 * w, rounding_mode="floor").expand(h, w)
    return rows.flatten().to(device), columns.flatten().to(device), (y % 2 * 2 + x % 2).flatten().to(device)


# ----------------------------------------------------------------------------------------- two numerics
class _Float:
    """Floating point, for training: differentiable, dtype and autocast as the caller has them."""

    def __init__(self, model: EntropyModel):
        self.p = model.config.dropout if model.training else 0.0

    def table(self, weight: nn.Parameter) -> Tensor:
        return weight

    def linear(self, x: Tensor, layer: nn.Linear) -> Tensor:
        return F.linear(x, layer.weight, layer.bias)

    def qkv(self, x: Tensor, layer: nn.Linear) -> Tensor:
        return F.linear(x, layer.weight, layer.bias)

    def up(self, x: Tensor, layer: nn.Linear) -> Tensor:
        return F.relu(F.linear(x, layer.weight, layer.bias))

    def norm(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + NORM_EPS)

    def enter(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p) if self.p else x

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.enter(y)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: nn.Parameter, step: _Step) -> Tensor:
        scores = (q @ k.transpose(-1, -2)) * _attention_scale(q.shape[-1])
        scores = scores + _bias(bias, step)[..., -q.shape[-2] :, :]
        scores = scores.masked_fill(~step.allowed[:, None, -q.shape[-2] :], -1e4)
        return scores.softmax(-1).to(v.dtype) @ v


def _attention_scale(head_dim: int) -> float:
    """About 1 / sqrt(head_dim), as a power of two so that scaling is exact."""
    return 2.0 ** -round(math.log2(head_dim) / 2)


def _bias(table: Tensor, step: _Step) -> Tensor:
    """(heads, offsets) -> (nW or 1, heads, R, C)"""
    return table[:, step.offset].transpose(0, 1)


class InexactWeightsError(ValueError):
    """Weights that cannot be evaluated exactly: not float32, not finite, or too large for the bounds."""


class _Exact:
    """Fixed-point numbers carried in float64: every operation gives one defined result, whoever computes it.

    An activation is an integer in units of 2^-12, a weight a multiple of 2^-16, both held in float64. All
    terms of a matrix product are then multiples of 2^-16, and so is every partial sum in whatever order it is
    formed; as long as no sum exceeds 2^53 units of 2^-16 (2^37), float64 represents each of them, so no
    rounding ever happens inside a product: neither summation order, blocking, thread count, fused multiply-add
    nor the device matters. What does round is elementwise and defined by IEEE 754: `round` (ties to even), one
    division of two exact integers, and a square root that is corrected to the integer root with exact
    comparisons. Division is always by a tensor or a power of two (CUDA kernels turn division by another constant
    into multiplication by its reciprocal).

    Bounds (units of 2^-12 unless said): the residual stream is clamped to 2^22, so its sum of squares is at
    most dim * 2^44 < 2^53 for dim < 512. A normalised vector is at most NORM_MAX = 2 * 2^12 * sqrt(dim).
    Queries, keys and values are clamped to 2^18: q.k <= head_dim * 2^36; exponentials are at most 2^24, so
    their sum against the values is at most columns * 2^42 < 2^53 for up to 2048 columns. The MLP's hidden
    layer is clamped to 2^20. For each linear layer, (largest row sum of |weight|) * (bound of its input) +
    |bias| < 2^37 is checked here for the actual weights; weights that break it are refused.
    """

    ONE = 2.0**12
    WEIGHT_ONE = 2.0**16
    STREAM_MAX = 2.0**22
    QKV_MAX = 2.0**18
    HIDDEN_MAX = 2.0**20
    SUM_MAX = 2.0**37  # 2^53 units of 2^-16
    NEVER = -(2.0**45)  # score of a masked column: farther below any real score than the exponential table reaches

    def __init__(self, model: EntropyModel):
        self.dim: int = model.config.dim
        self.device = model.mask.device
        head_dim = self.dim // model.config.num_heads
        if self.dim * self.STREAM_MAX**2 >= 2.0**53 or model.max_columns * self.QKV_MAX * EXP_ONE >= 2.0**53:
            raise InexactWeightsError("entropy model too wide to be evaluated exactly")
        self.score_unit = EXP_STEPS * _attention_scale(head_dim) / self.ONE**2
        self.norm_one = float(round(self.ONE * math.sqrt(self.dim)))
        self.norm_eps = float(round(self.dim * NORM_EPS * self.ONE**2))
        zero = torch.zeros(1, dtype=torch.float64)
        exp = torch.cat([model.exp_table.detach().to("cpu", torch.float64), zero])
        if not bool(((exp[:-1] >= 1) & (exp[:-1] <= EXP_ONE)).all()):
            raise InexactWeightsError("the entropy model's exponential table is damaged")
        self.exp = exp.to(self.device)
        self._tables: dict[int, Tensor] = {}
        self._linear: dict[int, tuple[Tensor, Tensor]] = {}
        self._biases: dict[tuple[int, int], tuple[_Step, Tensor]] = {}
        for name, parameter in model.named_parameters():
            if parameter.dtype != torch.float32:
                raise InexactWeightsError(f"entropy model: {name} is {parameter.dtype}, not float32")
            if not bool(torch.isfinite(parameter).all()):
                raise InexactWeightsError(f"entropy model: {name} is not finite")
        for table in (*model.embed, model.mask, model.scale, model.row, model.column, *model.place):
            self._tables[id(table)] = self._integers(table, self.STREAM_MAX)
        token_max = max(float(self._tables[id(e)].abs().max()) for e in model.embed)
        norm_max = 2 * self.norm_one
        for layer in (*model.context, *model.known):
            self._quantise(layer, token_max)
        for block in model.blocks:
            self._tables[id(block.bias)] = self._integers(block.bias, self.STREAM_MAX, EXP_STEPS)
            self._quantise(block.qkv, norm_max)
            self._quantise(block.out, self.QKV_MAX)
            self._quantise(block.up, norm_max)
            self._quantise(block.down, self.HIDDEN_MAX)
        for layer in model.head:
            self._quantise(layer, norm_max)

    def _integers(self, weight: Tensor, limit: float, one: float = ONE) -> Tensor:
        return (weight.detach().to("cpu", torch.float64) * one).round().clamp(-limit, limit).to(self.device)

    def _quantise(self, layer: nn.Linear, bound: float) -> None:
        weight = (layer.weight.detach().to("cpu", torch.float64) * self.WEIGHT_ONE).round() / self.WEIGHT_ONE
        bias = (layer.bias.detach().to("cpu", torch.float64) * self.ONE).round()
        if float((weight.abs().sum(1) * bound + bias.abs()).max()) >= self.SUM_MAX:
            raise InexactWeightsError("entropy model: weights too large for exact evaluation")
        self._linear[id(layer)] = (weight.t().contiguous().to(self.device), bias.to(self.device))

    def table(self, weight: nn.Parameter) -> Tensor:
        return self._tables[id(weight)]

    def _product(self, x: Tensor, layer: nn.Linear) -> Tensor:
        weight, bias = self._linear[id(layer)]
        return torch.addmm(bias, x.reshape(-1, x.shape[-1]), weight).round_().view(*x.shape[:-1], -1)

    def linear(self, x: Tensor, layer: nn.Linear) -> Tensor:
        return self._product(x, layer).clamp_(-self.STREAM_MAX, self.STREAM_MAX)

    def qkv(self, x: Tensor, layer: nn.Linear) -> Tensor:
        return self._product(x, layer).clamp_(-self.QKV_MAX, self.QKV_MAX)

    def up(self, x: Tensor, layer: nn.Linear) -> Tensor:
        return self._product(x, layer).clamp_(0.0, self.HIDDEN_MAX)

    def norm(self, x: Tensor) -> Tensor:
        total = x.square().sum(-1, keepdim=True) + self.norm_eps
        root = total.sqrt().floor_()  # right to one unit whatever the rounding of sqrt; made exact by comparison
        root -= (root * root > total).to(torch.float64)
        root += ((root + 1) * (root + 1) <= total).to(torch.float64)
        return (x * self.norm_one).div_(root).round_()

    def enter(self, x: Tensor) -> Tensor:
        return x.clamp(-self.STREAM_MAX, self.STREAM_MAX)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return (x + y).clamp_(-self.STREAM_MAX, self.STREAM_MAX)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: nn.Parameter, step: _Step) -> Tensor:
        scores = (q @ k.transpose(-1, -2)).mul_(self.score_unit).round_()
        scores += self._masked_bias(bias, step)[..., -q.shape[-2] :, :]
        weights = self.exponential(scores, EXP_ENTRIES)
        return (weights @ v).div_(weights.sum(-1, keepdim=True)).round_()

    def exponential(self, scores: Tensor, last: int) -> Tensor:
        """exp(score - largest score) as integers of at most 2^24; no less than table entry `last`. Spoils `scores`."""
        distance = torch.sub(scores.amax(-1, keepdim=True), scores, out=scores).clamp_(max=last)
        return self.exp.index_select(0, distance.int().view(-1)).view(distance.shape)

    def _masked_bias(self, bias: nn.Parameter, step: _Step) -> Tensor:
        found = self._biases.get((id(bias), id(step)))
        if found is not None:
            return found[1]
        dense = _bias(self.table(bias), step).masked_fill(~step.allowed[:, None], self.NEVER).contiguous()
        if dense.numel() < 2**18:  # large images: made anew each time rather than gigabytes kept
            if len(self._biases) >= 512:
                self._biases.clear()
            self._biases[id(bias), id(step)] = (step, dense)  # the step is kept so that its id stays its own
        return dense


# ------------------------------------------------------------------------------------------------ the network
class _Block(nn.Module):
    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, window: tuple[int, int], layers: int):
        super().__init__()
        hidden = round(dim * mlp_ratio)
        self.qkv = _linear(dim, 3 * dim)
        self.out = _linear(dim, dim, gain=1 / math.sqrt(2 * layers))
        self.up = _linear(dim, hidden)
        self.down = _linear(hidden, dim, gain=1 / math.sqrt(2 * layers))
        self.bias = _parameter(num_heads, (2 * window[0] - 1) * (2 * window[1] - 1), std=0.02)


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
    """Transformer prior over multi-scale token indices (paper: "entropy model", dimension 128, 4 heads, 4
    blocks).

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
        if len(grids) != len(groups) or not grids or any(g not in (1, 2, 4) for g in groups):
            raise ValueError("grids and groups need one entry per scale; groups are 1, 2 or 4")
        if dim % num_heads:
            raise ValueError("dim must be a multiple of num_heads")
        if len(window) != 2 or any(side < 2 or side % 2 for side in window):
            raise ValueError("window needs two even sides")
        self.window = (int(window[0]), int(window[1]))
        scales = range(len(grids))
        self.embed = _parameters(_parameter(codebook_size, token_dim, std=1.0) for _ in scales)
        self.context = _modules(_linear(9 * token_dim, dim, gain=0.5) for _ in scales[:-1])
        self.known = _modules(_linear(token_dim, dim) for _ in scales)
        self.mask = _parameter(len(grids), dim, std=0.5)
        self.scale = _parameter(len(grids), dim, std=0.5)
        self.row = _parameter(ROW_BINS, dim, std=0.2)
        self.column = _parameter(COLUMN_BINS, dim, std=0.2)
        self.place = _parameters(_parameter(4, dim, std=0.2) for _ in scales)
        layers = range(num_layers)
        self.blocks = _modules(_Block(dim, num_heads, mlp_ratio, self.window, num_layers) for _ in layers)
        self.head = _modules(_linear(dim, codebook_size, gain=0.1) for _ in scales)
        self.register_buffer("exp_table", torch.tensor(_exp_table(), dtype=torch.int32))

    @property
    def scales(self) -> int:
        """Number of token grids S."""
        return len(self.config.grids)

    @property
    def max_columns(self) -> int:
        """Most keys that one row of attention can see."""
        return 2 * self.window[0] * self.window[1]

    def grid_shapes(self, h: int, w: int) -> list[tuple[int, int]]:
        """Token grids (h_k, w_k), coarse to fine, of a feature grid h x w."""
        # The small term keeps 3/4 of 8 at 6 for fractions that have no exact float.
        return [(max(1, math.ceil(h * f - 1e-6)), max(1, math.ceil(w * f - 1e-6))) for f in self.config.grids]

    def schedule(self, scale: int, grid: tuple[int, int]) -> tuple[_Step, ...]:
        return _schedule(*grid, self.config.groups[scale], self.window, self.mask.device)

    def log_probs(self, indices: Sequence[Tensor]) -> list[Tensor]:
        """Natural-log probabilities of every code at every position, under the coding schedule,
        differentiable.

        Args:
            indices: per scale (B, h_k, w_k) int64 in 0 .. codebook_size - 1; the first scales only is
                allowed.
        Returns:
            per scale (B, h_k, w_k, codebook_size) float32.
        """
        ops = _Float(self)
        result = []
        for logits, steps, tokens in self._all_steps(ops, indices):
            order = torch.cat([step.positions for step in steps]).argsort()
            dense = torch.cat(logits, 1)[:, order]
            result.append(F.log_softmax(dense.float(), -1).unflatten(1, tokens.shape[1:]))
        return result

    def cross_entropy(self, indices: Sequence[Tensor]) -> Tensor:
        """(B, S) bits of each scale of each image, in floating point, differentiable. Args as `log_probs`."""
        ops = _Float(self)
        bits = []
        for logits, steps, tokens in self._all_steps(ops, indices):
            target = tokens.flatten(1)[:, torch.cat([step.positions for step in steps])]
            flat = torch.cat(logits, 1).float()
            nats = F.cross_entropy(flat.flatten(0, 1), target.flatten(), reduction="none")
            bits.append(nats.view(target.shape).sum(1) / math.log(2))
        return torch.stack(bits, 1)

    def loss(self, indices: Sequence[Tensor]) -> Tensor:
        """Scalar: mean over the batch of the bits per image, all scales together. Args as `log_probs`."""
        return self.cross_entropy(indices).sum(1).mean()

    def bits(self, indices: Sequence[Tensor]) -> Tensor:
        """(B, S) float64 bits by the exact frequencies that drive the range coder. No gradient."""
        prior = ExactPrior(self)
        total = []
        for tokens, groups in zip(indices, prior.frequencies(indices), strict=True):
            scale = torch.zeros(tokens.shape[0], dtype=torch.float64, device=tokens.device)
            for frequencies, positions in groups:
                chosen = frequencies.gather(-1, tokens.flatten(1)[:, positions, None])[..., 0]
                scale += (frequencies.sum(-1).log2() - chosen.log2()).sum(1)
            total.append(scale)
        return torch.stack(total, 1)

    def forward(self, indices: Sequence[Tensor]) -> Tensor:
        """Same as `cross_entropy`."""
        return self.cross_entropy(indices)

    # -------------------------------------------------------------------------- one forward, either numerics
    def _all_steps(
        self, ops: _Float | _Exact, indices: Sequence[Tensor]
    ) -> Iterator[tuple[list[Tensor], tuple[_Step, ...], Tensor]]:
        """Every pass of every scale, all tokens known: (logits per pass (B, n, K), passes, tokens)."""
        contexts: list[tuple[tuple[int, int], Tensor]] = []
        waiting: list[tuple[int, tuple[_Step, ...], Tensor]] = []
        rows: list[Tensor] = []
        for k, tokens in enumerate(indices):
            steps = self.schedule(k, (tokens.shape[1], tokens.shape[2]))
            base = self._base(ops, k, contexts, steps[0].grid)
            rows += [self._rows(ops, k, step, base, tokens.flatten(1)) for step in steps]
            waiting.append((k, steps, tokens))
            last = k + 1 == len(indices)
            if not last:
                contexts.append((steps[0].grid, self._context(ops, k, tokens)))
            if last or sum(part.shape[:3].numel() for part in rows) >= ROWS_AT_ONCE:
                plan = [(number, step) for number, passes, _ in waiting for step in passes]
                queries = iter(self._trunk(ops, rows, plan))
                for number, passes, grid in waiting:
                    yield [self._logits(ops, number, next(queries), step.slots) for step in passes], passes, grid
                waiting, rows = [], []

    def _context(self, ops: _Float | _Exact, k: int, tokens: Tensor) -> Tensor:
        """What scale k tells the finer ones: (B, h * w, dim) from each token and its eight neighbours."""
        h, w = tokens.shape[1:]
        padded = F.pad(ops.table(self.embed[k])[tokens], (0, 0, 1, 1, 1, 1))
        around = [padded[:, dy : dy + h, dx : dx + w] for dy in range(3) for dx in range(3)]
        return ops.linear(torch.cat(around, -1).flatten(1, 2), self.context[k])

    def _base(
        self,
        ops: _Float | _Exact,
        k: int,
        contexts: Sequence[tuple[tuple[int, int], Tensor]],
        grid: tuple[int, int],
    ) -> Tensor:
        """(B or 1, h * w, dim): what is known about each position before any token of scale k."""
        rows, columns, places = _places(*grid, self.mask.device)
        base = ops.table(self.row)[rows] + ops.table(self.column)[columns] + ops.table(self.place[k])[places]
        base = (base + ops.table(self.scale)[k])[None]
        for coarse, context in contexts:
            base = base + context[:, _nearest(grid, coarse, self.mask.device)]
        return base

    def _rows(self, ops: _Float | _Exact, k: int, step: _Step, base: Tensor, tokens: Tensor) -> Tensor:
        """(B, nW, R, dim) input of one pass. Of tokens (B, h * w) only the known ones need be right."""
        base = base.expand(tokens.shape[0], -1, -1)
        rows = base[:, step.query] + ops.table(self.mask)[k]
        if step.known is not None:
            embedded = ops.table(self.embed[k])[tokens[:, step.known]]
            rows = torch.cat([base[:, step.known] + ops.linear(embedded, self.known[k]), rows], 2)
        return ops.enter(rows)

    def _trunk(
        self,
        ops: _Float | _Exact,
        rows: Sequence[Tensor],
        plan: Sequence[tuple[int, _Step]],
        caches: Sequence[dict[int, tuple[Tensor, Tensor]]] | None = None,
    ) -> list[Tensor]:
        """All blocks over the rows of some passes, (B, nW, R, dim) each -> their queries, (B, nW, L, dim)
        each.

        `caches` hold keys and values of the known tokens so far, per block by scale, and are brought up to date.
        None: there are none yet, and no later pass will need them.
        """
        shapes = [part.shape for part in rows]
        counts = [shape[:3].numel() for shape in shapes]
        x = torch.cat([part.reshape(-1, part.shape[-1]) for part in rows])
        for number, block in enumerate(self.blocks):
            last = number + 1 == len(self.blocks)  # only the queries go through to the end
            mixed = []
            cache: dict[int, tuple[Tensor, Tensor]] = {} if caches is None else caches[number]
            qkv = ops.qkv(ops.norm(x), block.qkv)
            for part, shape, (k, step) in zip(qkv.split(counts), shapes, plan, strict=True):
                queries = step.query.shape[1]
                heads = part.view(*shape[:3], 3, self.config.num_heads, -1)
                q, key, value = heads.permute(3, 0, 1, 4, 2, 5).unbind(0)  # (B, nW, heads, R, head_dim)
                if k in cache:
                    old_key, old_value = cache[k]
                    key, value = torch.cat([old_key, key], -2), torch.cat([old_value, value], -2)
                found = ops.attend(q[..., -queries:, :] if last else q, key, value, block.bias, step)
                mixed.append(found.transpose(2, 3).reshape(-1, shape[-1]))
                cache[k] = key[..., :-queries, :], value[..., :-queries, :]
            if last:
                x = torch.cat(
                    [
                        part.view(shape)[:, :, -step.query.shape[1] :].reshape(-1, shape[-1])
                        for part, shape, (_, step) in zip(x.split(counts), shapes, plan, strict=True)
                    ]
                )
            x = ops.add(x, ops.linear(torch.cat(mixed), block.out))
            x = ops.add(x, ops.linear(ops.up(ops.norm(x), block.up), block.down))
        parts = [(shape[0], *step.query.shape) for shape, (_, step) in zip(shapes, plan, strict=True)]
        return [
            part.view(*shape, -1)
            for part, shape in zip(x.split([math.prod(shape) for shape in parts]), parts, strict=True)
        ]

    def _logits(self, ops: _Float | _Exact, k: int, queries: Tensor, slots: Tensor) -> Tensor:
        """(B, n, K) of these slots of a pass."""
        return ops.linear(ops.norm(queries.flatten(1, 2)[:, slots]), self.head[k])


@contextlib.contextmanager
def _plain(device: torch.device) -> Iterator[None]:
    """No autograd, no autocast: nothing of the caller's settings reaches the exact evaluation."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


class ExactPrior:
    """The model's exact evaluation: integer frequencies, bit-identical on every device and under every
    setting.

    Keeps its own float64 copy of the weights, taken when it is made, on the model's device.

    Raises:
        InexactWeightsError: weights that are not float32, not finite, or too large for the proven bounds.
    """

    def __init__(self, model: EntropyModel):
        self.model = model
        self._ops = _Exact(model)

    def _frequencies(self, logits: Tensor) -> Tensor:
        # 2^-12 units -> steps of the exponential table; a power of two, so exact before it is truncated.
        return self._ops.exponential(logits.mul_(EXP_STEPS / _Exact.ONE), EXP_ENTRIES - 1)

    def frequencies(self, indices: Sequence[Tensor]) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """All frequencies of known tokens. Args as `EntropyModel.log_probs`.

        Yields:
            per scale, the coding passes: frequencies (B, n, K) float64 integers of 1 .. 2^24, and the raster
            positions (n,) of the tokens they are for, in coding order.
        """
        scales = self.model._all_steps(self._ops, indices)
        while True:
            with _plain(self._ops.device):  # left before each yield: it would hold for the caller too
                found = next(scales, None)
                if found is None:
                    return
                logits, steps, _ = found
                groups = [(self._frequencies(x), step.positions) for x, step in zip(logits, steps, strict=True)]
            yield groups

    def decoding(self, h: int, w: int) -> Iterator[Decoding]:
        """One `Decoding` per scale of a feature grid h x w; finish each before you take the next."""
        contexts: list[tuple[tuple[int, int], Tensor]] = []
        for k, grid in enumerate(self.model.grid_shapes(h, w)):
            scale = Decoding(self, k, grid, contexts)
            yield scale
            with _plain(self._ops.device):
                if k + 1 < self.model.scales:
                    contexts.append((grid, self.model._context(self._ops, k, scale.tokens)))


class Decoding:
    """One scale while it is being decoded: iterate, and give `put` the symbols for all frequencies you get.

    for scale in prior.decoding(h, w):
        for frequencies in scale:          # (n, K) float64 integers, coding order
            scale.put(symbols)             # (n,) int64
        grid = scale.tokens[0]             # (h_k, w_k)
    """

    def __init__(
        self,
        prior: ExactPrior,
        scale: int,
        grid: tuple[int, int],
        contexts: list[tuple[tuple[int, int], Tensor]],
    ):
        self.prior, self.scale, self.contexts = prior, scale, contexts
        self.steps = prior.model.schedule(scale, grid)
        self.tokens = torch.zeros(1, *grid, dtype=torch.long, device=prior.model.mask.device)
        self._positions = self.steps[0].positions[:0]

    def __iter__(self) -> Iterator[Tensor]:
        model, ops = self.prior.model, self.prior._ops
        caches: list[dict[int, tuple[Tensor, Tensor]]] = [{} for _ in model.blocks]
        base: Tensor | None = None
        for step in self.steps:
            with _plain(ops.device):
                if base is None:
                    base = model._base(ops, self.scale, self.contexts, step.grid)
                rows = model._rows(ops, self.scale, step, base, self.tokens.flatten(1))
                (queries,) = model._trunk(ops, [rows], [(self.scale, step)], caches)
            parts = zip(step.slots.split(TOKENS_AT_ONCE), step.positions.split(TOKENS_AT_ONCE), strict=True)
            for slots, self._positions in parts:
                with _plain(ops.device):
                    logits = model._logits(ops, self.scale, queries, slots)
                    frequencies = self.prior._frequencies(logits)[0]
                yield frequencies

    def put(self, symbols: Tensor) -> None:
        """Symbols (n,) of the frequencies that were given last."""
        self.tokens.view(-1)[self._positions] = symbols.to(self.tokens)
