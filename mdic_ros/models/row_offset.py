"""By how many rows the side image is off, where a pair is not quite rectified (ours, not the paper's).

The alignment searches rows of a rectified pair. Half a row of the coded size beside costs 0.6 to 1.3 dB, and the
decoded picture does not tell of it: it is painted from the side image, wrong rows and all. The tokens do. They say
what the encoder made of the coded view; so the side image, brought there along the offsets that the alignment found
and any rows, is given to the same encoder, and where that comes closest to what was sent, the rows are right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mdic_ros.models.layers import fetch

REACH = 3  #: rows up and down that are tried
#: Variance of a measurement, rows^2, times its curvature and its cells: 0.045^2 to 0.065^2 times 128 at all rate points
#: and for all true offsets, measured on 21 pairs of four training drives.
NOISE = 0.4
#: Most rigs are rectified: exp(-|rows| * PRIOR) is how likely an offset is before anything was measured.
PRIOR = 2.0


@dataclass(frozen=True)
class RowOffset:
    """How many rows of the coded size lower than in a rectified pair the side image shows what the coded view shows."""

    mean: float = 0.0  #: of what was measured
    precision: float = 0.0  #: one over its variance

    def and_then(self, later: RowOffset, keep: float = 0.99) -> RowOffset:
        """This and a later measurement of the same rig, weighted by their precision; this fades by `keep`."""
        old = keep * self.precision
        precision = old + later.precision
        mean = (old * self.mean + later.precision * later.mean) / precision if precision else 0.0
        return RowOffset(mean, precision)

    @property
    def likely(self) -> float:
        """The most likely offset, rows: that of a rectified pair until there is evidence for another."""
        shrunk = abs(self.mean) - PRIOR / self.precision if self.precision else 0.0
        return math.copysign(max(0.0, shrunk), self.mean)


def shifted(image: Tensor, rows: float) -> Tensor:
    """Images (B, C, H, W) moved up by so many rows, bicubic; the border is repeated."""
    h = image.shape[-2]
    y = torch.arange(h, device=image.device, dtype=image.dtype) + rows
    x = torch.arange(image.shape[-1], device=image.device, dtype=image.dtype)
    grid = torch.stack(
        [
            ((2 * x + 1) / image.shape[-1] - 1).expand(h, -1),
            ((2 * y + 1) / h - 1)[:, None].expand(-1, image.shape[-1]),
        ],
        dim=-1,
    )
    grid = grid.expand(image.shape[0], -1, -1, -1)
    return F.grid_sample(image, grid, mode="bicubic", padding_mode="border", align_corners=False)


def measure(codes: Tensor, side: Tensor, offset: Tensor, mask: Tensor, encode: Callable[[Tensor], Tensor]) -> RowOffset:
    """Measures the offset of one pair.

    Args:
        codes: what was sent, (1, d, H/16, W/16): see `MultiScaleQuantizer.codes`.
        side: side image (1, 3, H, W) in [-1, 1].
        offset: x, y from the coded to the side view (1, 2, H/8, W/8), in positions of 8 pixels.
        mask: m_v (1, 1, H/16, W/16) in [0, 1].
        encode: what the encoder makes of an image, comparable with `codes`: (1, 3, H, W) to (1, d, H/16, W/16).
    """
    height, width = side.shape[-2:]
    along = F.interpolate(offset.float() * (width // offset.shape[-1]), size=(height, width), mode="bilinear")
    along = along * along.new_tensor([1.0, 0.0]).view(1, 2, 1, 1)
    unexplained = []
    for rows in range(-REACH, REACH + 1):  # one at a time: an encoder's memory for large images
        found = encode(fetch(side, along + along.new_tensor([0.0, float(rows)]).view(1, 2, 1, 1))).float()
        together, alone, sent = ((mask * (a * b)).sum() for a, b in ((found, codes), (found, found), (codes, codes)))
        unexplained.append(1 - together.square() / (alone * sent).clamp(min=1e-12))
    cost = torch.stack(unexplained).clamp(min=1e-6).log().cpu()
    middle = int(cost[1:-1].argmin()) + 1
    before, at, after = cost[middle - 1 : middle + 2].tolist()
    curvature = before - 2 * at + after
    if curvature <= 0 or not math.isfinite(curvature):
        return RowOffset()
    beyond = max(-1.0, min(1.0, (before - after) / (2 * curvature)))
    cells = float(mask.sum())
    return RowOffset(middle - REACH + beyond, curvature * cells / NOISE)
