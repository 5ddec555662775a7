"""Layers that several components share."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResBlock(nn.Module):
    """Pre-activation residual block of two 3x3 convolutions; `channels` is a multiple of 8."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, C, h, w) to features of that shape."""
        return x + self.body(x)


def warp(image: Tensor, offset: Tensor) -> Tensor:
    """Backward warp: every position of the result is taken from where its offset points in the image.

    Conventions, here and wherever offsets occur in this package:

    - An offset has two channels, x (columns, positive to the right) and then y (rows, positive downwards).
    - It points from a position of the result to the place in `image` that is taken: result(p) = image(p + offset(p)).
      For a stereo pair `image` is the side view and the result is in the coded view's positions.
    - Its unit is one position of the grid that it stands on (a pixel where the grid is the image), never normalised.
      At twice the resolution the same offset is twice the number.
    - Positions are counted from their middles: `align_corners=False`, a resize by a factor keeps the outer borders.
    - Between positions bilinear; outside the image the border is repeated.

    Args:
        image: (B, C, H, W).
        offset: (B, 2, H, W); keep it in float32, since bfloat16 cannot tell half columns above 256.

    Returns:
        (B, C, H, W), in the dtype of `offset`.
    """
    _, _, h, w = image.shape
    x = torch.arange(w, device=image.device, dtype=offset.dtype) + offset[:, 0]
    y = torch.arange(h, device=image.device, dtype=offset.dtype)[:, None] + offset[:, 1]
    grid = torch.stack([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1], dim=-1)
    return F.grid_sample(image.to(offset.dtype), grid, padding_mode="border", align_corners=False)


class ContextUNet(nn.Module):
    """Residual U-Net over features, with row and column as further inputs, so that it knows where in the image it is.

    Args:
        channels: channels of the features.
        wide: channels at the lower levels.
        levels: number of halvings of the size.
    """

    def __init__(self, channels: int, wide: int, levels: int) -> None:
        super().__init__()
        widths = [channels] + levels * [wide]
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a + 2 * (n == 0), b, 3, stride=2, padding=1), ResBlock(b))
            for n, (a, b) in enumerate(itertools.pairwise(widths))
        )
        ups = [nn.Sequential(nn.Conv2d(b, 4 * a, 1), nn.PixelShuffle(2)) for a, b in itertools.pairwise(widths)]
        mixes = [ResBlock(a) for a in widths[:-1]]
        self.up, self.mix = nn.ModuleList(ups), nn.ModuleList(mixes)
        for layer in (ups[0][0], mixes[0].body[-1]):  # begin as the identity
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, C, h, w) whose sides are multiples of 2^levels, to features of that shape."""
        b, _, h, w = x.shape
        rows = torch.linspace(-1, 1, h, device=x.device, dtype=x.dtype)[:, None].expand(b, 1, h, w)
        columns = torch.linspace(-1, 1, w, device=x.device, dtype=x.dtype).expand(b, 1, h, w)
        levels = [x]
        now = torch.cat([x, rows, columns], dim=1)
        for down in self.down:
            now = down(now)
            levels.append(now)
        for n in reversed(range(len(self.up))):
            now = self.mix[n](levels[n] + self.up[n](now))
        return now
