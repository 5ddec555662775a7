"""The prior a second time, written from docs/bitstream.md alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from mdic_ros.models.entropy.schedule import PriorSizes

Array = npt.NDArray[np.int64]
ORDER = {1: ((0, 0), (0, 0)), 2: ((0, 1), (1, 0)), 4: ((0, 2), (3, 1))}


def halves_even(numerator: Array, denominator: Array | int) -> Array:
    """numerator / denominator, rounded; ties to even."""
    floor, rest = np.divmod(numerator, denominator)
    return floor + ((2 * rest > denominator) | ((2 * rest == denominator) & (floor % 2 == 1)))


class Reference:
    """Whole numbers (int64), so nothing that could round unnoticed; no passes, caches, padding or batches. Slow."""

    def __init__(self, sizes: PriorSizes, weights: dict[str, npt.NDArray[np.generic]]) -> None:
        self.sizes, self.weights = sizes, weights

    def integers(self, name: str, bits: int) -> Array:
        # float32 times a power of two is exact in float64; rint rounds ties to even.
        return np.rint(self.weights[name].astype(np.float64) * 2.0**bits).astype(np.int64)

    def table(self, name: str, bits: int = 12) -> Array:
        return self.integers(name, bits).clip(-(2**22), 2**22)

    def linear(self, name: str, x: Array, low: int, high: int) -> Array:
        total = x @ self.integers(f"{name}.weight", 16).T + (self.integers(f"{name}.bias", 12) << 16)
        return halves_even(total, 2**16).clip(low, high)

    def norm(self, x: Array) -> Array:
        dim = x.shape[-1]
        total = (x * x).sum(-1, keepdims=True) + dim * 2**12
        root = np.vectorize(math.isqrt, otypes=[np.int64])(total)
        return halves_even(x * round(2**12 * math.sqrt(dim)), root)

    def exponentials(self, scores: Array, last: int) -> Array:
        table = np.append(self.weights["exp_table"].astype(np.int64), 0)
        return table[np.minimum(scores.max(-1, keepdims=True) - scores, last)]

    def frequencies(self, indices: Sequence[Array]) -> list[Array]:
        """Per scale (h_k, w_k, K), for all tokens at their places."""
        result, told = [], []
        for k, tokens in enumerate(indices):
            h, w = tokens.shape
            base = np.empty((h, w, self.sizes.dim), np.int64)
            for y in range(h):
                for x in range(w):
                    base[y, x] = self.table("row")[(2 * y + 1) * 16 // (2 * h)]
                    base[y, x] += self.table("column")[(2 * x + 1) * 32 // (2 * w)]
                    base[y, x] += self.table(f"place.{k}")[2 * (y % 2) + x % 2] + self.table("scale")[k]
                    for context in told:
                        rows, columns = context.shape[:2]
                        base[y, x] += context[(2 * y + 1) * rows // (2 * h), (2 * x + 1) * columns // (2 * w)]
            embedded = self.table(f"embed.{k}")[tokens]
            known = base + self.linear(f"known.{k}", embedded, -(2**22), 2**22)
            query = base + self.table("mask")[k]
            found = np.empty((h, w, self.sizes.codebook_size), np.int64)
            for ys in self.windows(h, self.sizes.window[0]):
                for xs in self.windows(w, self.sizes.window[1]):
                    self.window(k, [(y, x) for y in ys for x in xs], known, query, found)
            result.append(found)
            if k + 1 < len(indices):
                padded = np.pad(embedded, ((1, 1), (1, 1), (0, 0)))
                around = [padded[dy : dy + h, dx : dx + w] for dy in range(3) for dx in range(3)]
                told.append(self.linear(f"context.{k}", np.concatenate(around, -1), -(2**22), 2**22))
        return result

    def windows(self, size: int, limit: int) -> list[range]:
        width = math.ceil(size / math.ceil(size / limit))
        width += width % 2
        return [range(start, min(start + width, size)) for start in range(0, size, width)]

    def window(self, k: int, cells: list[tuple[int, int]], known: Array, query: Array, found: Array) -> None:
        """Every cell of a window as a known token and as a query; all rows of all groups at once."""
        group = np.array([ORDER[self.sizes.groups[k]][y % 2][x % 2] for y, x in cells] * 2)
        is_query = np.repeat([False, True], len(cells))
        at = np.array(cells * 2)
        # Known tokens see known tokens up to their own group; queries those of earlier groups, and their own group's
        # queries.
        sees = ~is_query[None, :] & (group[None, :] < group[:, None] + ~is_query[:, None])
        sees |= is_query[:, None] & is_query[None, :] & (group[:, None] == group[None, :])
        dy, dx = (at[:, None] - at[None, :]).transpose(2, 0, 1)
        offset = (dy + self.sizes.window[0] - 1) * (2 * self.sizes.window[1] - 1) + dx + self.sizes.window[1] - 1
        x = np.array([known[cell] for cell in cells] + [query[cell] for cell in cells]).clip(-(2**22), 2**22)
        heads, size = self.sizes.num_heads, self.sizes.head_dim
        unit = 2 ** (16 + round(math.log2(size) / 2))  # products of 2^-24, 256 steps, about 1 / sqrt(size)
        for block in range(self.sizes.num_layers):
            name = f"blocks.{block}"
            qkv = self.linear(f"{name}.qkv", self.norm(x), -(2**18), 2**18)
            q, keys, values = qkv.reshape(len(x), 3, heads, size).transpose(1, 2, 0, 3)
            scores = halves_even(q @ keys.transpose(0, 2, 1), unit) + self.table(f"{name}.bias", 8)[:, offset]
            weights = self.exponentials(np.where(sees, scores, -(2**40)), 4096)
            mixed = halves_even(weights @ values, weights.sum(-1, keepdims=True))
            out = self.linear(f"{name}.out", mixed.transpose(1, 0, 2).reshape(len(x), -1), -(2**22), 2**22)
            x = (x + out).clip(-(2**22), 2**22)
            hidden = self.linear(f"{name}.up", self.norm(x), 0, 2**20)
            x = (x + self.linear(f"{name}.down", hidden, -(2**22), 2**22)).clip(-(2**22), 2**22)
        logits = self.linear(f"head.{k}", self.norm(x[len(cells) :]), -(2**22), 2**22)
        distance = logits.max(-1, keepdims=True) - logits
        table = self.weights["exp_table"].astype(np.int64)
        for cell, row in zip(cells, table[np.minimum(distance // 16, 4095)], strict=True):
            found[cell] = row


@pytest.fixture(scope="session")
def reference() -> type[Reference]:
    return Reference
