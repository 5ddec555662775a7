"""Measures by how many rows the side image is off where a pair is not quite rectified (ours, not the paper's).

The alignment searches along the rows of a rectified pair. An error of half a row of the coded size costs 0.6 to 1.3 dB.
The decoded picture does not show the error, since it is painted from the side image, wrong rows included. The tokens
do: they are what the encoder saw in the coded view. So the side image is warped to the coded view along the offsets of
the alignment, with different numbers of rows added, and encoded. The number of rows for which the result is closest to
the tokens is the measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mdic_ros.models.layers import warp
from mdic_ros.models.row_offset import RowOffset

REACH = 3  #: rows up and down that are tried
#: Variance of a measurement, rows^2, times its curvature and its cells: 0.045^2 to 0.065^2 times 128 at all rate points
#: and for all true offsets, measured on 21 pairs of four training drives.
NOISE = 0.4


def shift_rows(image: Tensor, rows: float) -> Tensor:
    """Moves images up by a number of rows.

    Conventions: row r of the result is row r + `rows` of the input, both counted from 0 at the top; `rows` is in pixels
    and need not be whole. Bicubic, the border is repeated, and pixels are addressed by their middles
    (`align_corners=False`).

    Args:
        image: (B, C, H, W).
        rows: rows to move up; negative = down.

    Returns:
        (B, C, H, W).
    """
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


def measure_rows(
    codes: Tensor, side: Tensor, offset: Tensor, mask: Tensor, encode: Callable[[Tensor], Tensor]
) -> RowOffset:
    """Measures the row offset of one pair.

    Args:
        codes: what was sent, (1, d, H/16, W/16): see `MultiScaleQuantizer.codes`.
        side: side image (1, 3, H, W) in [-1, 1].
        offset: x, y from the coded to the side view (1, 2, H/8, W/8), in positions of 8 pixels.
        mask: m_v (1, 1, H/16, W/16) in [0, 1].
        encode: the encoder's networks, (1, 3, H, W) to (1, d, H/16, W/16), comparable with `codes`.

    Returns:
        The offset and its precision; a precision of 0 where the pair allows no measurement.
    """
    height, width = side.shape[-2:]
    along = F.interpolate(offset.float() * (width // offset.shape[-1]), size=(height, width), mode="bilinear")
    along = along * along.new_tensor([1.0, 0.0]).view(1, 2, 1, 1)
    unexplained = []
    for rows in range(-REACH, REACH + 1):  # one at a time: an encoder needs much memory for large images
        found = encode(warp(side, along + along.new_tensor([0.0, float(rows)]).view(1, 2, 1, 1))).float()
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
