"""The prior as encoder and decoder evaluate it: integer frequencies, the same to the last bit on every machine.

Fixed-point numbers carried in float64: every operation gives one defined result, on any processor.

An activation is an integer in units of 2^-12, a weight a multiple of 2^-16, both held in float64. All terms of a
matrix product are then multiples of 2^-16, and so is every partial sum in whatever order it is formed; as long as no
sum exceeds 2^53 units of 2^-16 (2^37), float64 represents each of them, so no rounding ever happens inside a product:
neither summation order, blocking, thread count, fused multiply-add nor the library matters. What does round is
elementwise and defined by IEEE 754: `rint` (ties to even), one division of two exact integers, and a square root that
is corrected to the integer root with exact comparisons.

Bounds (units of 2^-12 unless said): the residual stream is clamped to 2^22, so its sum of squares is at most
dim * 2^44 < 2^53 for dim < 512. A normalised vector is at most 2 * 2^12 * sqrt(dim). Queries, keys and values are
clamped to 2^18: q.k <= head_dim * 2^36, and a score, its bias included, is below 2^26; exponentials are at most 2^24,
so their sum against the values is at most columns * 2^42 < 2^53 for up to 2048 columns. The MLP's hidden layer is
clamped to 2^20. For each linear layer, (largest row sum of |weight|) * (bound of its input) + |bias| < 2^37 is checked
for the actual weights; weights that break it are refused.

Specified for a second implementation in docs/bitstream.md. The float twin, for training, is `model.EntropyModel`.
"""

from __future__ import annotations

import decimal
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mdic_ros.errors import MdicError
from mdic_ros.models.entropy.schedule import COLUMN_BINS, ROW_BINS, Integers, PriorSizes, Step, nearest, places

Floats = npt.NDArray[np.float64]
Weights = Mapping[str, npt.NDArray[np.generic]]

ONE = 2.0**12
WEIGHT_ONE = 2.0**16
STREAM_MAX = 2.0**22
QKV_MAX = 2.0**18
HIDDEN_MAX = 2.0**20
SUM_MAX = 2.0**37  # 2^53 units of 2^-16
NORM_EPS = 2.0**-12
# exp(-d / EXP_STEPS) for d = 0 .. EXP_ENTRIES - 1, times EXP_ONE, rounded: the only exponentials.
EXP_STEPS, EXP_ENTRIES, EXP_ONE = 256, 4096, 2**24
NEVER = -(2**30)  # bias of a masked column: farther below any real score than the exponential table reaches

# Rows that go through the network at once, about: several small scales together, or some windows of a large one.
# This keeps intermediate results in the processor's cache, bounds memory, and avoids work on finer scales that are not
# asked for.
ROWS_AT_ONCE = 2**8
TOKENS_AT_ONCE = 2**6  # tokens whose frequencies are computed at a time
_KEPT_BIASES = 2**23  # numbers of all dense biases that are kept


class PriorError(MdicError):
    """An entropy model that cannot drive the coder: weights or configuration missing, damaged, or not exact."""


@functools.lru_cache(maxsize=1)
def exp_table() -> tuple[int, ...]:
    """round(2^24 * exp(-d / 256)) for d = 0 .. 4095. Training puts it into the bundle; the coder reads it there."""
    # Decimal.exp is correctly rounded by its specification: the same table on every machine, unlike libm's exp.
    with decimal.localcontext() as context:
        context.prec = 40
        step = decimal.Decimal(1) / EXP_STEPS
        return tuple(
            int((EXP_ONE * (-step * d).exp()).to_integral_value(decimal.ROUND_HALF_EVEN)) for d in range(EXP_ENTRIES)
        )


class _Reader:
    """Takes weights by name, checks them, and turns them into fixed-point numbers."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def _take(self, name: str, shape: tuple[int, ...]) -> Floats:
        weight = self.weights.get(name)
        if weight is None or weight.shape != shape:
            found = "missing" if weight is None else f"of shape {weight.shape}, not {shape}"
            raise PriorError(f"entropy model: {name} is {found}")
        if weight.dtype != np.float32:
            raise PriorError(f"entropy model: {name} is {weight.dtype}, not float32")
        if not np.isfinite(weight).all():
            raise PriorError(f"entropy model: {name} is not finite")
        return weight.astype(np.float64)

    def table(self, name: str, *shape: int, one: float = ONE) -> Floats:
        return np.rint(self._take(name, shape) * one).clip(-STREAM_MAX, STREAM_MAX)

    def linear(self, name: str, inputs: int, outputs: int, bound: float) -> _Linear:
        """A layer whose input is at most `bound`."""
        weight = np.rint(self._take(f"{name}.weight", (outputs, inputs)) * WEIGHT_ONE) / WEIGHT_ONE
        bias = np.rint(self._take(f"{name}.bias", (outputs,)) * ONE)
        if (np.abs(weight).sum(1) * bound + np.abs(bias)).max() >= SUM_MAX:
            raise PriorError(f"entropy model: the weights of {name} are too large for exact evaluation")
        return _Linear(np.ascontiguousarray(weight.T), bias)

    def exponentials(self) -> Integers:
        table = self.weights.get("exp_table")
        if table is None or table.shape != (EXP_ENTRIES,) or table.dtype != np.int32:
            raise PriorError("entropy model: exp_table is missing or damaged")
        found = table.astype(np.int64)
        if not ((found >= 1) & (found <= EXP_ONE)).all():
            raise PriorError("entropy model: exp_table is damaged")
        return found


@dataclass(frozen=True)
class _Linear:
    weight: Floats  # (inputs, outputs), multiples of 2^-16
    bias: Floats  # (outputs,), integers

    def __call__(self, x: Floats, low: float, high: float) -> Floats:
        """Rows (..., inputs) -> (..., outputs), rounded to integers and clamped."""
        y = self.sums(x, low, high)
        return np.rint(y, out=y)

    def sums(self, x: Floats, low: float, high: float) -> Floats:
        """The same, clamped but not yet rounded."""
        y = x @ self.weight
        y += self.bias
        return np.clip(y, low, high, out=y)


@dataclass(frozen=True, eq=False)
class _Block:
    qkv: _Linear
    out: _Linear
    up: _Linear
    down: _Linear
    bias: Floats  # (heads, offsets)


@dataclass(frozen=True)
class _Part:
    """A pass in some of its windows."""

    scale: int
    step: Step
    windows: slice
    rows: Floats  # (n, R, dim): known tokens, then queries
    out: Floats  # (n, L, dim): where the queries go that have come through the network


_Cache = dict[int, tuple[Floats, Floats]]  # scale -> keys and values (n, heads, columns, head_dim) of known tokens
_Context = tuple[tuple[int, int], Floats]  # a token grid, and what the finer ones use of it: (h * w, dim)


class ExactPrior:
    """The prior's exact evaluation, in NumPy alone.

    Args:
        sizes: of the network and of its grids.
        weights: arrays by the names that `EntropyModel` stores them under. Float64 copies are taken.

    Raises:
        PriorError: weights that are missing, misshapen, not float32, not finite, or too large for the proven bounds.
    """

    def __init__(self, sizes: PriorSizes, weights: Weights) -> None:
        self.sizes = sizes
        if sizes.dim * STREAM_MAX**2 >= 2.0**53 or sizes.max_columns * QKV_MAX * EXP_ONE >= 2.0**53:
            raise PriorError("entropy model: too wide to be evaluated exactly")
        read, dim, token_dim, scales = _Reader(weights), sizes.dim, sizes.token_dim, range(sizes.scales)
        self._score_unit = EXP_STEPS * sizes.attention_scale / ONE**2
        self._norm_one = float(round(ONE * math.sqrt(dim)))
        self._norm_eps = float(round(dim * NORM_EPS * ONE**2))
        self._exp = read.exponentials()
        # For attention: what is farther away than the table reaches has no weight at all.
        self._exp_or_zero = np.append(self._exp, 0).astype(np.float64)
        self._embed = [read.table(f"embed.{k}", sizes.codebook_size, token_dim) for k in scales]
        self._mask = read.table("mask", sizes.scales, dim)
        self._scale = read.table("scale", sizes.scales, dim)
        self._row = read.table("row", ROW_BINS, dim)
        self._column = read.table("column", COLUMN_BINS, dim)
        self._place = [read.table(f"place.{k}", 4, dim) for k in scales]
        token_max = max(float(np.abs(table).max()) for table in self._embed)
        norm_max = 2 * self._norm_one
        self._context = [read.linear(f"context.{k}", 9 * token_dim, dim, token_max) for k in scales[:-1]]
        self._known = [read.linear(f"known.{k}", token_dim, dim, token_max) for k in scales]
        self._blocks = []
        for number in range(sizes.num_layers):
            name = f"blocks.{number}"
            hidden = np.size(weights.get(f"{name}.up.bias", ()))
            self._blocks.append(
                _Block(
                    qkv=read.linear(f"{name}.qkv", dim, 3 * dim, norm_max),
                    out=read.linear(f"{name}.out", dim, dim, QKV_MAX),
                    up=read.linear(f"{name}.up", dim, hidden, norm_max),
                    down=read.linear(f"{name}.down", hidden, dim, HIDDEN_MAX),
                    bias=read.table(f"{name}.bias", sizes.num_heads, sizes.offsets, one=EXP_STEPS),
                )
            )
        self._head = [read.linear(f"head.{k}", dim, sizes.codebook_size, norm_max) for k in scales]
        self._biases: dict[tuple[_Block, Step], npt.NDArray[np.int32]] = {}

    @property
    def scales(self) -> int:
        """Number of token grids S."""
        return self.sizes.scales

    @property
    def codebook_size(self) -> int:
        """Number of codes K of every grid; tokens are 0 .. K - 1."""
        return self.sizes.codebook_size

    def grid_shapes(self, h: int, w: int) -> list[tuple[int, int]]:
        """Token grids (h_k, w_k), coarse to fine, of a feature grid h x w."""
        return self.sizes.grid_shapes(h, w)

    def frequencies(self, indices: Sequence[Integers]) -> Iterator[Iterator[tuple[Integers, Integers]]]:
        """All frequencies of known tokens.

        Args:
            indices: per scale (h_k, w_k) int64 in 0 .. codebook_size - 1, coarse to fine; may stop at any scale.

        Yields:
            per scale, an iterator over its tokens in coding order, some at a time: frequencies (n, K) int64, 1 .. 2^24,
            and the raster positions (n,) of the tokens they are for.
        """
        contexts: list[_Context] = []
        waiting: list[tuple[int, list[tuple[Step, Floats]]]] = []  # scales, and their passes with the queries
        parts: list[_Part] = []
        for k, tokens in enumerate(indices):
            grid = (tokens.shape[0], tokens.shape[1])
            base, last = self._base(k, contexts, grid), k + 1 == len(indices)
            passes = [(step, np.empty((*step.query.shape, self.sizes.dim))) for step in self.sizes.schedule(k, grid)]
            waiting.append((k, passes))
            slices = _slices([step for step, _ in passes])
            for windows in slices:
                parts += [self._part(k, step, windows, base, tokens, queries) for step, queries in passes]
                rows = sum(part.rows.shape[0] * part.rows.shape[1] for part in parts)
                if last or len(slices) > 1 or rows >= ROWS_AT_ONCE:
                    self._run(parts, [{} for _ in self._blocks])
                    parts = []
            if not parts:
                for number, passes in waiting:
                    yield self._of_passes(number, passes)
                waiting = []
            if not last:
                contexts.append((grid, self._tell(k, tokens)))

    def bits(self, indices: Sequence[Integers]) -> Floats:
        """(S,) bits of each scale by these frequencies. Args as `frequencies`."""
        return np.array(
            [
                sum(_bits(frequencies, tokens.ravel()[positions]) for frequencies, positions in groups)
                for tokens, groups in zip(indices, self.frequencies(indices), strict=True)
            ]
        )

    def decoding(self, h: int, w: int) -> Iterator[Decoding]:
        """One `Decoding` per scale of a feature grid h x w; finish each before you take the next."""
        contexts: list[_Context] = []
        for k, grid in enumerate(self.grid_shapes(h, w)):
            scale = Decoding(self, k, grid, self._base(k, contexts, grid))
            yield scale
            if k + 1 < self.scales:
                contexts.append((grid, self._tell(k, scale.tokens)))

    # ------------------------------------------------------------------------------------------- the network
    def _tell(self, k: int, tokens: Integers) -> Floats:
        """What the finer scales use of scale k: (h * w, dim) from each token and its eight neighbours."""
        h, w = tokens.shape
        padded = np.zeros((h + 2, w + 2, self.sizes.token_dim))
        padded[1:-1, 1:-1] = self._embed[k][tokens]
        around = [padded[dy : dy + h, dx : dx + w] for dy in range(3) for dx in range(3)]
        return self._context[k](np.concatenate(around, -1).reshape(h * w, -1), -STREAM_MAX, STREAM_MAX)

    def _base(self, k: int, contexts: Sequence[_Context], grid: tuple[int, int]) -> Floats:
        """(h * w, dim): what is known about each position before any token of scale k."""
        rows, columns, spots = places(*grid)
        base = self._row[rows]
        base += self._column[columns]
        base += self._place[k][spots]
        base += self._scale[k]
        for coarse, context in contexts:
            base += context[nearest(grid, coarse)]
        return base

    def _part(self, k: int, step: Step, windows: slice, base: Floats, tokens: Integers, queries: Floats) -> _Part:
        """Of tokens (h_k, w_k) only the known ones need be right; queries (nW, L, dim) are where they go."""
        new, query = step.known[windows], step.query[windows]
        known = new.shape[1]
        rows = base[np.concatenate([new, query], 1)]
        rows[:, :known] += self._known[k](self._embed[k][tokens.ravel()[new]], -STREAM_MAX, STREAM_MAX)
        rows[:, known:] += self._mask[k]
        return _Part(k, step, windows, np.clip(rows, -STREAM_MAX, STREAM_MAX, out=rows), queries[windows])

    def _run(self, parts: Sequence[_Part], caches: Sequence[_Cache]) -> None:
        """All blocks over the rows of these parts.

        `caches` hold keys and values of the known tokens of earlier passes, per block, and are brought up to date. All
        parts of one scale are of the same windows.
        """
        x, shapes = _join([part.rows for part in parts]), [part.rows.shape for part in parts]
        for block, cache in zip(self._blocks, caches, strict=True):
            qkv = _split(block.qkv(self._norm(x), -QKV_MAX, QKV_MAX), shapes)
            if block is self._blocks[-1]:  # only the queries go through to the end
                rows = zip(_split(x, shapes), parts, strict=True)
                queries = [some[:, part.step.known.shape[1] :] for some, part in rows]
                x, shapes = _join(queries), [some.shape for some in queries]
            mixed = np.empty_like(x)
            for part, some, out in zip(parts, qkv, _split(mixed, shapes), strict=True):
                self._attend(block, cache, part, some, out)
            x = _add(x, block.out(mixed, -STREAM_MAX, STREAM_MAX))
            x = _add(x, block.down(block.up(self._norm(x), 0.0, HIDDEN_MAX), -STREAM_MAX, STREAM_MAX))
        for part, some in zip(parts, _split(x, shapes), strict=True):
            part.out[:] = some

    def _attend(self, block: _Block, cache: _Cache, part: _Part, qkv: Floats, out: Floats) -> None:
        """Attention of one part: qkv (n, R, 3 * dim) of all its rows -> out (n, m, dim) of the last m of them."""
        step, heads, rows = part.step, self.sizes.num_heads, out.shape[1]
        q, keys, values = qkv.reshape(*qkv.shape[:2], 3, heads, -1).transpose(2, 0, 3, 1, 4)  # (n, heads, R, head_dim)
        if part.scale in cache:
            keys, values = (np.concatenate(pair, 2) for pair in zip(cache[part.scale], (keys, values), strict=True))
        if step.known.shape[1] and not step.last:
            seen = keys.shape[2] - step.query.shape[1]
            cache[part.scale] = keys[:, :, :seen], values[:, :, :seen]
        bias = self._bias(block, step)
        if len(bias) > 1:
            bias = bias[step.pattern[part.windows]]
        products = (q[:, :, -rows:] * self._score_unit) @ keys.swapaxes(-1, -2)
        scores = np.rint(products, out=np.empty(products.shape, np.int32), casting="unsafe")
        scores += bias[:, :, -rows:]
        weights = self._exp_or_zero.take(_distance(scores), mode="clip", out=products)
        mixed = out.reshape(*out.shape[:2], heads, -1).swapaxes(1, 2)
        np.matmul(weights, values, out=mixed)
        mixed /= weights.sum(-1, keepdims=True)
        np.rint(out, out=out)

    def _bias(self, block: _Block, step: Step) -> npt.NDArray[np.int32]:
        """(P, heads, R, C) of the patterns of a pass."""
        dense = self._biases.get((block, step))
        if dense is None:
            dense = np.where(step.allowed[:, None], block.bias[:, step.offset].swapaxes(0, 1), NEVER).astype(np.int32)
            if sum(kept.size for kept in list(self._biases.values())) > _KEPT_BIASES:
                self._biases.clear()
            self._biases[block, step] = dense
        return dense

    def _norm(self, x: Floats) -> Floats:
        total = np.einsum("ij,ij->i", x, x)
        total += self._norm_eps
        root = np.floor(np.sqrt(total))  # right to one unit whatever the rounding of sqrt; made exact by comparison
        root -= root * root > total
        root += (root + 1) * (root + 1) <= total
        y = x * self._norm_one
        y /= root[:, None]
        return np.rint(y, out=y)

    def _of_passes(self, k: int, passes: Sequence[tuple[Step, Floats]]) -> Iterator[tuple[Integers, Integers]]:
        """Frequencies and positions, from the passes and their queries (nW, L, dim)."""
        for step, queries in passes:
            flat = queries.reshape(-1, self.sizes.dim)
            for start in range(0, len(step.slots), TOKENS_AT_ONCE):
                some = slice(start, start + TOKENS_AT_ONCE)
                yield self._frequencies(k, flat[step.slots[some]]), step.positions[some]

    def _frequencies(self, k: int, queries: Floats) -> Integers:
        """(n, dim) -> (n, K)."""
        sums = self._head[k].sums(self._norm(queries), -STREAM_MAX, STREAM_MAX)
        logits = np.rint(sums, out=np.empty(sums.shape, np.int32), casting="unsafe")
        distance = _distance(logits)
        distance >>= 4  # units of 2^-12 -> steps of the exponential table, 2^-8
        return self._exp.take(distance, mode="clip")


class Decoding:
    """One scale while it is being decoded: iterate, and give `put` the symbols for all frequencies you get.

    for scale in prior.decoding(h, w):
        for frequencies in scale:          # (n, K) int64, coding order
            scale.put(symbols)             # (n,) int64
        grid = scale.tokens                # (h_k, w_k) int64
    """

    def __init__(self, prior: ExactPrior, scale: int, grid: tuple[int, int], base: Floats) -> None:
        self._prior, self.scale, self._base = prior, scale, base
        self.tokens: Integers = np.zeros(grid, np.int64)
        self._positions: Integers = np.zeros(0, np.int64)

    def __iter__(self) -> Iterator[Integers]:
        prior = self._prior
        steps = prior.sizes.schedule(self.scale, (self.tokens.shape[0], self.tokens.shape[1]))
        slices: list[tuple[slice, list[_Cache]]] = [
            (windows, [{} for _ in range(prior.sizes.num_layers)]) for windows in _slices(steps)
        ]
        for step in steps:
            queries = np.empty((*step.query.shape, prior.sizes.dim))
            for windows, caches in slices:
                prior._run([prior._part(self.scale, step, windows, self._base, self.tokens, queries)], caches)
            for frequencies, positions in prior._of_passes(self.scale, [(step, queries)]):
                self._positions = positions
                yield frequencies

    def put(self, symbols: Integers) -> None:
        """Symbols (n,) of the frequencies that were given last."""
        self.tokens.ravel()[self._positions] = symbols


def _slices(steps: Sequence[Step]) -> list[slice]:
    """Cuts the windows of a grid into slices of about `ROWS_AT_ONCE` rows, all passes together."""
    windows = len(steps[0].query)
    rows = sum(step.known.shape[1] + step.query.shape[1] for step in steps)
    some = max(1, round(ROWS_AT_ONCE / rows))
    return [slice(start, start + some) for start in range(0, windows, some)]


def _join(parts: Sequence[Floats]) -> Floats:
    """(nW, R, dim) each -> (all rows, dim)."""
    return np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts])


def _split(x: Floats, shapes: Sequence[tuple[int, ...]]) -> list[Floats]:
    """(all rows, n) -> views (nW, R, n) of it, with nW and R of `shapes`."""
    ends = np.cumsum([shape[0] * shape[1] for shape in shapes])
    return [part.reshape(*shape[:2], -1) for part, shape in zip(np.split(x, ends[:-1]), shapes, strict=True)]


def _add(x: Floats, y: Floats) -> Floats:
    """x + y, clamped; overwrites y."""
    y += x
    return np.clip(y, -STREAM_MAX, STREAM_MAX, out=y)


def _distance(scores: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Largest score of each row minus score; overwrites `scores`."""
    return np.subtract(scores.max(-1, keepdims=True), scores, out=scores)


def _bits(frequencies: Integers, symbols: Integers) -> float:
    """What these symbols cost, (n, K) and (n,)."""
    chosen = np.take_along_axis(frequencies, symbols[:, None], 1)[:, 0]
    return float((np.log2(frequencies.sum(1)) - np.log2(chosen)).sum())
