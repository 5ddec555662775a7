"""HyperAlign: latent -> features that are quantised to indices (paper, section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """Residual bottleneck block, 1x1 - 3x3 - 1x1; `channels` is a multiple of 8."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, half, 1),
            nn.SiLU(),
            nn.Conv2d(half, half, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(half, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, N, h, w) to features of that shape."""
        return x + self.body(x)


class WindowAttention(nn.Module):
    """Self-attention inside windows of 8 x 16 positions.

    One window is the whole grid of a 128x256 image. Larger images are cut into windows, so that the cost of attention
    grows with the area, and windows are as large as in training.
    """

    WINDOW = (8, 16)

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, N, h, w) of any size to features of that shape."""
        b, c, h, w = x.shape
        wh, ww = self.WINDOW
        pad_h, pad_w = -h % wh, -w % ww
        qkv = F.pad(self.qkv(self.norm(x)), (0, pad_w, 0, pad_h))
        inside = F.pad(x.new_ones(1, 1, h, w), (0, pad_w, 0, pad_h))
        q, k, v = (self._windows(part, self.heads) for part in qkv.chunk(3, dim=1))
        mask = self._windows(inside, 1).expand(-1, -1, -1, 1).transpose(2, 3).bool()
        windows = mask.shape[0]
        mask = mask.repeat(b, 1, 1, 1) if windows < q.shape[0] else mask
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        rows, columns = (h + pad_h) // wh, (w + pad_w) // ww
        y = y.transpose(1, 2).reshape(b, rows, columns, wh, ww, c).permute(0, 5, 1, 3, 2, 4)
        return x + self.out(y.reshape(b, c, h + pad_h, w + pad_w)[:, :, :h, :w])

    def _windows(self, x: Tensor, heads: int) -> Tensor:
        """(B, C, H, W) to (B * windows, heads, 128, C / heads)."""
        b, c, h, w = x.shape
        wh, ww = self.WINDOW
        x = x.reshape(b, heads, c // heads, h // wh, wh, w // ww, ww).permute(0, 3, 5, 1, 4, 6, 2)
        return x.reshape(-1, heads, wh * ww, c // heads)


class HyperAlign(ModelMixin, ConfigMixin):
    """1x1 convolution, residual bottleneck blocks, attention; halves the resolution of the latent on the way.

    Args:
        latent_channels: channels of z.
        channels: N, the width of the blocks (192 at full size).
        features: M, the width of the features that are quantised (320 at full size).
    """

    @register_to_config
    def __init__(self, latent_channels: int = 8, channels: int = 128, features: int = 192) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(latent_channels, channels, 1),
            Bottleneck(channels),
            Bottleneck(channels),
            nn.Conv2d(channels, channels, 4, stride=2, padding=1),
            Bottleneck(channels),
            Bottleneck(channels),
            WindowAttention(channels),
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, features, 1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Latent (B, C, h, w) to features (B, M, h/2, w/2)."""
        return self.body(z.contiguous(memory_format=torch.channels_last))
