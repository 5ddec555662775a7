"""The coding schedule: in which order the tokens are coded, and which ones each is predicted from.

*Scales*: the token grids are coded coarse to fine, each with all coarser grids as context. *Groups*: inside a grid the
tokens are coded in groups by their place in a 2x2 pattern, a whole group in one pass of the network (a fixed unmasking
order, as in M2T, arXiv 2304.07313). *Windows*: attention stays within a window of the grid.

Groups are causal: a token of group g is predicted from the tokens of groups before g. So all groups of all scales can
be evaluated in one pass where the tokens are known (training, encoder), and with a cache of keys and values where they
are not yet (decoder). Each position occurs up to twice: as a *query* (its token unknown; predicts it) and as a *known*
token (seen by later groups).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mdic_ros.models.token_grid import token_grid

Integers = npt.NDArray[np.int64]

# Position in the whole grid, as a fraction, in this many bins: grids of any size share the embeddings.
ROW_BINS, COLUMN_BINS = 16, 32


@dataclass(frozen=True)
class PriorSizes:
    """The sizes of a prior; `EntropyModel` says what each means.

    Raises:
        ValueError: sizes that make no prior.
    """

    codebook_size: int
    grids: Sequence[float]
    groups: Sequence[int]
    dim: int
    num_heads: int
    num_layers: int
    window: tuple[int, ...]
    token_dim: int

    def __post_init__(self) -> None:
        if len(self.grids) != len(self.groups) or not self.grids or any(g not in (1, 2, 4) for g in self.groups):
            raise ValueError("grids and groups need one entry per scale; groups are 1, 2 or 4")
        if not all(0 < fraction <= 1 for fraction in self.grids):
            raise ValueError("grids are fractions of the feature grid, above 0 and at most 1")
        if min(self.codebook_size, self.dim, self.num_heads, self.num_layers, self.token_dim) < 1:
            raise ValueError("a prior needs at least one code, layer, head and dimension")
        if self.dim % self.num_heads:
            raise ValueError("dim must be a multiple of num_heads")
        if len(self.window) != 2 or any(side < 2 or side % 2 for side in self.window):
            raise ValueError("window needs two even sides")

    @property
    def scales(self) -> int:
        """Number of token grids S."""
        return len(self.grids)

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    @property
    def max_columns(self) -> int:
        """Most keys that one row of attention can see."""
        return 2 * self.window[0] * self.window[1]

    @property
    def offsets(self) -> int:
        """Entries of the table of attention biases: relative positions inside a window."""
        return (2 * self.window[0] - 1) * (2 * self.window[1] - 1)

    @property
    def attention_scale(self) -> float:
        """About 1 / sqrt(head_dim), as a power of two so that scaling is exact."""
        return 2.0 ** -round(math.log2(self.head_dim) / 2)

    def grid_shapes(self, h: int, w: int) -> list[tuple[int, int]]:
        """Token grids (h_k, w_k), coarse to fine, of a feature grid h x w."""
        return [token_grid(fraction, h, w) for fraction in self.grids]

    def schedule(self, scale: int, grid: tuple[int, int]) -> tuple[Step, ...]:
        """The passes that code a token grid of this scale."""
        return schedule(*grid, self.groups[scale], self.window)


@dataclass(frozen=True, eq=False)
class Step:
    """One pass: the tokens of group g - 1 enter as known tokens, those of group g are predicted.

    Windows are padded to equal length with slots that nothing attends to. nW: windows, L_g: slots of group g in a
    window, R = L_{g-1} + L_g: rows of the pass (known tokens, then queries), C: key columns (known tokens of earlier
    passes, then the rows of this pass), P: patterns, one for each size of window. All integers are int64.
    """

    last: bool  #: no pass follows that would need the keys and values of these known tokens
    known: Integers  #: (nW, L_{g-1}) position in the grid of each new known token; (nW, 0) in the first pass
    query: Integers  #: (nW, L_g) position in the grid of each query
    slots: Integers  #: (n,) the real queries among nW * L_g, in raster order of the grid: the coding order
    positions: Integers  #: (n,) their positions in the grid
    pattern: Integers  #: (nW,) of each window, 0 .. P - 1
    allowed: npt.NDArray[np.bool_]  #: (P, R, C): row may look at column
    offset: Integers  #: (P, R, C) index of the relative position in the bias table


def windows(size: int, limit: int) -> list[range]:
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
def schedule(h: int, w: int, groups: int, window: tuple[int, ...]) -> tuple[Step, ...]:
    """The passes that code a grid of h x w tokens; groups that have no position in so small a grid are left out."""
    tiles = [(rows, columns) for rows in windows(h, window[0]) for columns in windows(w, window[1])]
    # Windows of one size are alike: they begin at even rows and columns.
    numbers: dict[tuple[int, int], int] = {}
    pattern = np.array([numbers.setdefault((len(ys), len(xs)), len(numbers)) for ys, xs in tiles])
    examples = [int(np.argmax(pattern == number)) for number in range(len(numbers))]
    members = [
        [[(y, x) for y in ys for x in xs if _group(y, x, groups) == g] for ys, xs in tiles] for g in range(groups)
    ]
    members = [tile_cells for tile_cells in members if any(tile_cells)]
    padded = []  # per group: (nW, L, 3) of y, x, valid
    for tile_cells in members:
        length = max(map(len, tile_cells))
        cells = [[(y, x, 1) for y, x in cells] + [(0, 0, 0)] * (length - len(cells)) for cells in tile_cells]
        padded.append(np.array(cells, np.int64))
    steps = []
    for g, query in enumerate(padded):
        known = padded[g - 1] if g else query[:, :0]
        rows = np.concatenate([known, query], 1)[examples]
        keys = np.concatenate(padded[: g + 1], 1)[examples]
        allowed = np.repeat(keys[:, None, :, 2] != 0, rows.shape[1], 1)
        allowed[:, : known.shape[1], keys.shape[1] - query.shape[1] :] = False  # known tokens do not look at queries
        delta = rows[:, :, None, :2] - keys[:, None, :, :2]
        # Padded slots can be anywhere in the grid; clip only keeps their (unused) index in the table.
        dy = delta[..., 0].clip(1 - window[0], window[0] - 1) + window[0] - 1
        dx = delta[..., 1].clip(1 - window[1], window[1] - 1) + window[1] - 1
        places = query[..., 0] * w + query[..., 1]
        real = np.flatnonzero(query[..., 2])
        slots = real[places.ravel()[real].argsort()]
        steps.append(
            Step(
                last=g + 1 == len(padded),
                known=known[..., 0] * w + known[..., 1],
                query=places,
                slots=slots,
                positions=places.ravel()[slots],
                pattern=pattern,
                allowed=allowed,
                offset=dy * (2 * window[1] - 1) + dx,
            )
        )
    return tuple(steps)


@functools.lru_cache(maxsize=256)
def nearest(fine: tuple[int, int], coarse: tuple[int, int]) -> Integers:
    """(h * w,) position in the coarse grid under the middle of each position of the fine grid."""
    rows, columns = ((2 * np.arange(n) + 1) * m // (2 * n) for n, m in zip(fine, coarse, strict=True))
    return (rows[:, None] * coarse[1] + columns).ravel()


@functools.lru_cache(maxsize=64)
def places(h: int, w: int) -> tuple[Integers, Integers, Integers]:
    """(h * w,) each: row bin, column bin, place in the 2x2 pattern."""
    y, x = np.divmod(np.arange(h * w), w)
    return (2 * y + 1) * ROW_BINS // (2 * h), (2 * x + 1) * COLUMN_BINS // (2 * w), y % 2 * 2 + x % 2
