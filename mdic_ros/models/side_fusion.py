"""MG-SISM, mask-guided fusion of the side information: G1 (cluster), G2 (detail) and C-Conv (paper, section 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mdic_ros.models.layers import ResBlock


class ViTBlock(nn.Module):
    """Pre-norm transformer block; the number of `heads` divides `channels`."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, n, C) to tokens of that shape."""
        b, n, c = tokens.shape
        q, k, v = self.qkv(self.norm1(tokens)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        tokens = tokens + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))
        return tokens + self.mlp(self.norm2(tokens))


class ClusterFusion(nn.Module):
    """G1: a ViT over [x^ tokens, m_v * y^ tokens] recovers category information that quantisation lost: x^_c.

    Attention is within tiles of 8 x 16 feature positions (a whole 128x256 image), so that the cost grows with the area
    and any size works.
    """

    TILE = (8, 16)

    def __init__(self, features: int, heads: int, layers: int) -> None:
        super().__init__()
        self.position = nn.Parameter(0.02 * torch.randn(1, features, *self.TILE))
        self.view = nn.Parameter(0.02 * torch.randn(2, features))
        self.blocks = nn.ModuleList(ViTBlock(features, heads) for _ in range(layers))

    def forward(self, x_hat: Tensor, y_hat: Tensor, mask: Tensor) -> Tensor:
        """x^ and the aligned y^ (B, M, h, w), m_v (B, 1, h, w) in [0, 1], to x^_c (B, M, h, w)."""
        h, w = x_hat.shape[-2:]
        th, tw = self.TILE
        # Tiles are spread evenly over the grid and overlap where its sides are not multiples of theirs.
        starts = [(r, q) for r in _starts(h, th) for q in _starts(w, tw)]
        height, width = min(th, h), min(tw, w)
        position = self.position[:, :, :height, :width]

        def tiles(t: Tensor) -> Tensor:
            return torch.cat([t[:, :, r : r + height, q : q + width] for r, q in starts])

        x = (tiles(x_hat) + position).flatten(2).transpose(1, 2) + self.view[0]
        y = (tiles(mask * y_hat) + position).flatten(2).transpose(1, 2) + self.view[1]
        tokens = torch.cat([x, y], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        parts = tokens[:, : height * width].transpose(1, 2).unflatten(2, (height, width)).chunk(len(starts))
        if len(starts) == 1:
            return x_hat + parts[0]
        total, count = torch.zeros_like(x_hat, dtype=parts[0].dtype), x_hat.new_zeros(1, 1, h, w)
        for (r, q), part in zip(starts, parts, strict=True):
            total[:, :, r : r + height, q : q + width] += part
            count[:, :, r : r + height, q : q + width] += 1
        return x_hat + total / count


def _starts(length: int, tile: int) -> list[int]:
    """First positions of the fewest tiles that cover a side, evenly spread."""
    if length <= tile:
        return [0]
    count = -(-length // tile)
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


class DetailFusion(nn.Module):
    """G2: z_d = F_m(m_v) * softsign(tanh(residual convolutions(z_y))) + z_y, fine detail from the side image."""

    def __init__(self, latent_channels: int, channels: int) -> None:
        super().__init__()
        self.mask = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1), nn.SiLU(), nn.Conv2d(channels, latent_channels, 1)
        )
        self.detail = nn.Sequential(
            nn.Conv2d(latent_channels, channels, 3, padding=1),
            ResBlock(channels),
            ResBlock(channels),
            nn.Conv2d(channels, latent_channels, 3, padding=1),
        )

    def forward(self, z_y: Tensor, mask: Tensor) -> Tensor:
        """Aligned side latent (B, C, h, w) and m_v (B, 1, h/2, w/2) in [0, 1], to z_d (B, C, h, w)."""
        mask = F.interpolate(mask, size=z_y.shape[-2:], mode="bilinear", align_corners=False)
        return self.mask(mask) * F.softsign(torch.tanh(self.detail(z_y))) + mask * z_y


class SideFusion(ModelMixin, ConfigMixin):
    """G1 and G2, and the concatenation of their results for C-Conv.

    C-Conv itself, the convolution over the concatenation, is the first layer of the denoiser: its `in_channels` are
    the sum of those of the noisy latent, of z_d and of the projected x^_c.

    Args:
        latent_channels: C.
        features: M.
        channels: width inside G2.
        condition: channels of the projected x^_c.
        heads: attention heads of G1; their number divides `features`.
        layers: transformer blocks of G1.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 8,
        features: int = 192,
        channels: int = 64,
        condition: int = 48,
        heads: int = 4,
        layers: int = 2,
    ) -> None:
        super().__init__()
        self.g1 = ClusterFusion(features, heads, layers)
        self.g2 = DetailFusion(latent_channels, channels)
        self.project = nn.Sequential(nn.Conv2d(features, 4 * condition, 1), nn.PixelShuffle(2))

    def forward(self, x_hat: Tensor, y_hat: Tensor, z_y: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Fuses the aligned side information under the mask.

        Args:
            x_hat, y_hat: quantised features, y^ aligned (B, M, h/2, w/2).
            z_y: aligned side latent (B, C, h, w).
            mask: m_v (B, 1, h/2, w/2); 0 everywhere where there is no side image.

        Returns:
            x^_c (B, M, h/2, w/2), and the condition [z_d, projected x^_c] (B, C + condition, h, w) of the denoiser.
        """
        x_c = self.g1(x_hat, y_hat, mask)
        return x_c, torch.cat([self.g2(z_y, mask), self.project(x_c)], dim=1)
