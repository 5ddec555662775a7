"""Stereo alignment: brings the side image's detail to its position in the coded view (ours, not the paper's).

In a rectified pair the same point lies on the same row of both views. So this is cross-attention along rows at /8, on
latents, before the fusion: each position of the coded view attends to its row of the side view, and to the rows above
and below, since few rigs are rectified to the pixel. The expected place of the attention is an offset. Training
compares it with a stereo matcher's, and the refiner starts from it after the LDM decoder.

The score of a place is the sum of three log-probabilities: likeness (query and key), the offset that the coded view
predicts for its position, and the offset that the side view predicts for its own. The predictions come from monocular
cues for distance: the road, the height of a car.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mdic_ros.models.layers import ContextUNet, ResBlock

#: Limit on the scores of a row attention that are in memory at once outside training: 16 MiB in float32.
MOST_SCORES = 1 << 22


@dataclass(frozen=True)
class Match:
    """Where in the side view each position of the coded view was found."""

    #: (B, h, w, rows, w): attention weights, mean of the heads; of the rows the same one is in the middle. None outside
    #: training, since its size grows with the square of the width, and where a network corrected the offset.
    probability: Tensor | None
    #: (B, 2, h, w): x, y from the coded to the side view, in positions of this grid; see `warp` for the conventions.
    offset: Tensor


class RowAttention(nn.Module):
    """Cross-attention along the same row and its neighbours.

    Args:
        channels: channels of queries, keys and values.
        heads: attention heads.
        reach: offsets beyond +-reach positions share one bias.
        rows: number of rows above, and of rows below, that are searched, too.
    """

    def __init__(self, channels: int, heads: int, reach: int, rows: int = 1) -> None:
        super().__init__()
        self.heads, self.reach, self.rows = heads, reach, rows
        self.norm_x, self.norm_y = nn.GroupNorm(8, channels), nn.GroupNorm(8, channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.kv = nn.Conv2d(channels, 2 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        self.offset_bias = nn.Parameter(torch.zeros(heads, 2 * rows + 1, 2 * reach + 1))
        # Each view's prediction of its offsets, per head: the offset in units of `reach`, and its precision.
        self.guess_x, self.guess_y = (nn.Conv2d(channels, 2 * heads, 1) for _ in range(2))
        with torch.no_grad():
            # Before training: prefer nearby places on the same row.
            offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
            distance = torch.arange(-rows, rows + 1, dtype=torch.float32).abs()[:, None] * 2
            self.offset_bias.copy_((-(offsets.abs() / reach * 4) - distance).expand(heads, -1, -1))
            for guess in (self.guess_x, self.guess_y):
                nn.init.normal_(guess.weight, std=0.01)
                bias = cast(Tensor, guess.bias)
                bias.zero_()
                bias[1::2] = -4.0  # low precision

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Match]:
        """Attends from x to y, (B, C, h, w) each: attended values (B, C, h, w), and where they were found."""
        b, c, h, w = x.shape
        n = 2 * self.rows + 1

        def lines(t: Tensor) -> Tensor:
            """(B, C, h, w) to (B, h, heads, w, C / heads)."""
            return t.permute(0, 2, 3, 1).reshape(b, h, w, self.heads, -1).transpose(2, 3)

        def around(t: Tensor, outside: float = 0.0) -> Tensor:
            """(B, h, heads, w, d) to (B, h, heads, n * w, d): of the rows around each row."""
            padded = F.pad(t, (0, 0, 0, 0, 0, 0, self.rows, self.rows), value=outside)
            return torch.cat([padded[:, r : r + h] for r in range(n)], dim=3)

        x, y = self.norm_x(x), self.norm_y(y)
        key, value = self.kv(y).chunk(2, dim=1)
        # Positions in units of `reach`, about the middle, where float32 is finest.
        column = (torch.arange(w, device=x.device, dtype=torch.float32) - w // 2) / self.reach
        column = column[:, None].expand(b, h, self.heads, w, 1)
        with torch.autocast(x.device.type, enabled=False):
            x_where, x_sure = self._guess(lines(self.guess_x(x)))
            y_where, y_sure = self._guess(lines(self.guess_y(y)))
            # -sure * (offset - where)^2 for both predictions, expanded into products of a term of x and a term of y, so
            # that they become part of the matrix product. Terms that are constant along a row cancel in the softmax.
            middle, target = column + x_where, column - y_where
            q = lines(self.q(x)).float() * (c // self.heads) ** -0.5
            one = torch.ones_like(column)
            q = torch.cat([q, -x_sure, 2 * x_sure * middle, one, 2 * column, -column.square(), one], dim=-1)
            terms = [lines(key).float(), column.square(), column, -y_sure * target.square(), y_sure * target, y_sure]
            inside = around(torch.zeros_like(column), outside=-1e4)
            k = torch.cat([around(torch.cat(terms, dim=-1)), inside], dim=-1)
            values, bias = around(lines(value)), self._bias(w)
            # Rows are independent, so they can be computed a few at a time.
            step = h if self.training else max(1, MOST_SCORES // (b * self.heads * w * n * w))
            found, probabilities, offsets = [], [], []
            for top in range(0, h, step):
                rows = slice(top, top + step)
                attention = (q[:, rows] @ k[:, rows].transpose(-1, -2) + bias).softmax(-1)
                found.append(attention.to(value.dtype) @ values[:, rows])
                probability = attention.mean(2).unflatten(3, (n, w))
                offsets.append(self._expected(probability))
                if self.training:
                    probabilities.append(probability)
        seen = torch.cat(found, dim=1).transpose(2, 3).reshape(b, h, w, c).permute(0, 3, 1, 2)
        match = Match(torch.cat(probabilities, dim=1) if self.training else None, torch.cat(offsets, dim=2))
        return self.out(seen), match

    def _guess(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Offset in units of `reach` and precision in 1 / reach^2, (B, h, heads, w, 1) each."""
        where, sure = t.float().split(1, dim=-1)
        return where, self.reach**2 * F.softplus(sure)

    def _bias(self, w: int) -> Tensor:
        """(heads, w, n * w): the learned bias of each offset."""
        column = torch.arange(w, device=self.offset_bias.device)
        offset = (column[None, :] - column[:, None]).clamp(-self.reach, self.reach) + self.reach
        return self.offset_bias[:, :, offset].transpose(1, 2).flatten(2)

    def _expected(self, probability: Tensor) -> Tensor:
        """Expected offset x, y (B, 2, h, w) of attention weights (B, h, w, rows, w)."""
        w, n = probability.shape[2], probability.shape[3]
        column = torch.arange(w, device=probability.device, dtype=probability.dtype)
        row = torch.arange(n, device=probability.device, dtype=probability.dtype) - self.rows
        horizontal = probability.sum(3) @ column - column
        vertical = probability.sum(4) @ row
        return torch.stack([horizontal, vertical], dim=1)


class AlignmentBlock(nn.Module):
    """Row attention, added to the state of the coded view, and a residual block; arguments as in `RowAttention`."""

    def __init__(self, channels: int, heads: int, reach: int) -> None:
        super().__init__()
        self.attention = RowAttention(channels, heads, reach)
        self.mix = ResBlock(channels)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Match]:
        found, match = self.attention(x, y)
        return self.mix(x + found), match


class SideAlignment(ModelMixin, ConfigMixin):
    """Alignment at /8, before the fusion.

    Args:
        latent_channels: C, channels of z_y.
        features: M, channels of x^ and y^.
        channels: width inside.
        blocks: alignment blocks.
        heads: attention heads of a block; their number divides `channels`.
        reach: see `RowAttention`, in latent positions (8 pixels each).
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 8,
        features: int = 192,
        channels: int = 128,
        blocks: int = 2,
        heads: int = 4,
        reach: int = 24,
    ) -> None:
        super().__init__()
        self.up_x = nn.Sequential(nn.Conv2d(features, 4 * channels, 1), nn.PixelShuffle(2), ResBlock(channels))
        self.up_y = nn.Sequential(nn.Conv2d(features, 4 * channels, 1), nn.PixelShuffle(2))
        self.in_y = nn.Conv2d(latent_channels, channels, 3, padding=1)
        self.mix_y = ResBlock(channels)
        # Prior knowledge of the usual distance in each part of an image, at any size.
        self.position = nn.Parameter(torch.zeros(1, channels, 16, 32))
        self.context_x, self.context_y = (ContextUNet(channels, channels, 2) for _ in range(2))
        self.align = nn.ModuleList(AlignmentBlock(channels, heads, reach) for _ in range(blocks))
        self.shift = nn.Conv2d(channels, 2, 3, padding=1)
        for parameter in self.shift.parameters():
            nn.init.zeros_(parameter)
        self.to_latent = nn.Conv2d(channels, latent_channels, 3, padding=1)
        self.to_features = nn.Conv2d(channels, features, 2, stride=2)

    def forward(self, x_hat: Tensor, y_hat: Tensor, z_y: Tensor) -> tuple[Tensor, Tensor, list[Match]]:
        """Aligns the side image to the coded view.

        Args:
            x_hat, y_hat: quantised features (B, M, h/2, w/2).
            z_y: latent of the side image (B, C, h, w); h and w are multiples of 4.

        Returns:
            z_y aligned to the coded view (B, C, h, w), y^ likewise (B, M, h/2, w/2); the matches of each block, and
            last the corrected offsets.
        """
        position = F.interpolate(self.position, size=z_y.shape[-2:], mode="bilinear", align_corners=False)
        x = self.context_x(self.up_x(x_hat) + position)
        y = self.context_y(self.mix_y(self.in_y(z_y) + self.up_y(y_hat)) + position)
        matches = []
        for block in self.align:
            x, match = block(x, y)
            matches.append(match)
        # The mean of the attention is biased where it is wide; the features allow a correction.
        matches.append(Match(None, matches[-1].offset + self.shift(x)))
        return self.to_latent(x), self.to_features(x), matches
