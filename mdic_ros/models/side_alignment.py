"""Stereo alignment: brings the side image's detail to where it belongs in the coded view (ours, not the paper's).

In a rectified pair the same point lies on the same row of both views. So each position of the coded view looks along
its row of the side view: cross-attention with a learned bias over the horizontal offset, at /8 on latents before the
fusion, and at /4 on pixels after the LDM decoder.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn


class ResBlock(nn.Module):
    """Pre-activation residual block of two 3x3 convolutions."""

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
        return x + self.body(x)


class RowAttention(nn.Module):
    """Cross-attention along rows with a learned bias over the horizontal offset.

    Args:
        channels: width of queries, keys and values.
        heads: attention heads.
        reach: offsets beyond +-reach positions share one bias.
    """

    def __init__(self, channels: int, heads: int, reach: int) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.norm_x, self.norm_y = nn.GroupNorm(8, channels), nn.GroupNorm(8, channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.kv = nn.Conv2d(channels, 2 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        self.offset_bias = nn.Parameter(torch.zeros(heads, 2 * reach + 1))
        with torch.no_grad():
            # The left view's point lies further right than the right view's: start by looking nearby.
            offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
            self.offset_bias.copy_(-(offsets.abs() / reach * 4).expand(heads, -1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """What each position of x (B, C, h, w) finds on its row of y (B, C, h, w): (B, C, h, w)."""
        b, c, h, w = x.shape

        def rows(t: Tensor) -> Tensor:
            return t.permute(0, 2, 3, 1).reshape(b * h, w, self.heads, -1).transpose(1, 2)

        q = rows(self.q(self.norm_x(x)))
        k, v = (rows(t) for t in self.kv(self.norm_y(y)).chunk(2, dim=1))
        position = torch.arange(w, device=x.device)
        offset = (position[None, :] - position[:, None]).clamp(-self.reach, self.reach) + self.reach
        bias = self.offset_bias[:, offset].to(q.dtype)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.unsqueeze(0))
        found = found.transpose(1, 2).reshape(b, h, w, c).permute(0, 3, 1, 2)
        return self.out(found)


class AlignmentBlock(nn.Module):
    """Row attention followed by a residual block on what is decoded so far."""

    def __init__(self, channels: int, heads: int, reach: int) -> None:
        super().__init__()
        self.attention = RowAttention(channels, heads, reach)
        self.mix = ResBlock(channels)

    def forward(self, x: Tensor, y: Tensor, share: Tensor | float = 1.0) -> Tensor:
        return self.mix(x + share * self.attention(x, y))


class SideAlignment(ModelMixin, ConfigMixin):
    """Alignment at /8, before the fusion.

    Args:
        latent_channels: C, channels of z_y.
        features: M, channels of x^ and y^.
        channels: width inside.
        blocks: alignment blocks.
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
        self.align = nn.ModuleList(AlignmentBlock(channels, heads, reach) for _ in range(blocks))
        self.to_latent = nn.Conv2d(channels, latent_channels, 3, padding=1)
        self.to_features = nn.Conv2d(channels, features, 2, stride=2)

    def forward(self, x_hat: Tensor, y_hat: Tensor, z_y: Tensor) -> tuple[Tensor, Tensor]:
        """Aligns the side image to the coded view.

        Args:
            x_hat, y_hat: quantised features (B, M, h/2, w/2).
            z_y: latent of the side image (B, C, h, w).

        Returns:
            z_y brought to the coded view's positions (B, C, h, w), and y^ likewise (B, M, h/2, w/2).
        """
        x = self.up_x(x_hat)
        y = self.mix_y(self.in_y(z_y) + self.up_y(y_hat))
        for block in self.align:
            x = block(x, y)
        return self.to_latent(x), self.to_features(x)


class DetailRefiner(ModelMixin, ConfigMixin):
    """Alignment at /4, after the LDM decoder: side pixels reach the picture where they are visible.

    The decoded picture itself asks the questions here, and it knows better than the indices where it is.
    """

    @register_to_config
    def __init__(
        self,
        features: int = 192,
        channels: int = 96,
        blocks: int = 2,
        heads: int = 4,
        reach: int = 48,
        patch: int = 4,
    ) -> None:
        super().__init__()
        self.unshuffle, self.shuffle = nn.PixelUnshuffle(patch), nn.PixelShuffle(patch)
        pixels = 3 * patch * patch
        self.in_x = nn.Conv2d(pixels, channels, 3, padding=1)
        self.in_y = nn.Conv2d(pixels, channels, 3, padding=1)
        self.in_mask = nn.Conv2d(1, channels, 1)
        self.in_features = nn.Sequential(nn.Conv2d(features, 4 * channels, 1), nn.PixelShuffle(2))
        self.mix_x, self.mix_y = ResBlock(channels), ResBlock(channels)
        self.align = nn.ModuleList(AlignmentBlock(channels, heads, reach) for _ in range(blocks))
        self.out = nn.Conv2d(channels, pixels, 3, padding=1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, picture: Tensor, x_c: Tensor, side: Tensor, mask: Tensor, present: Tensor) -> Tensor:
        """Refines a decoded picture.

        Args:
            picture: (B, 3, H, W), about [-1, 1].
            x_c: cluster-fused features (B, M, H/16, W/16).
            side: side image (B, 3, H, W) in [-1, 1].
            mask: m_v (B, 1, H/16, W/16) in [0, 1].
            present: (B, 1, 1, 1), 1 where there is a side image, else 0.

        Returns:
            The refined picture (B, 3, H, W).
        """
        x = self.unshuffle(picture).contiguous(memory_format=torch.channels_last)
        y = self.unshuffle(side).contiguous(memory_format=torch.channels_last)
        size = x.shape[-2:]
        guide = F.interpolate(self.in_features(x_c), size=size, mode="bilinear", align_corners=False)
        share = F.interpolate(mask, size=size, mode="bilinear", align_corners=False)
        x = self.mix_x(self.in_x(x) + self.in_mask(share) + guide)
        y = self.mix_y(self.in_y(y))
        for block in self.align:
            x = block(x, y, present * share)
        return picture + self.shuffle(self.out(x))
