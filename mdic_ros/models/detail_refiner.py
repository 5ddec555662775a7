"""Detail refiner: the side image's own pixels reach the picture where they are visible (ours, not the paper's).

Runs after the LDM decoder. The decoded picture asks the questions here, and it knows better than the indices where
it is: row attention at /4 finds out where each block of the picture lies in the side view, the side image is
fetched from there pixel by pixel, and a gate lays it over the picture where the two agree.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mdic_ros.models.side_alignment import AlignmentBlock, Match, ResBlock


def fetch(image: Tensor, offset: Tensor) -> Tensor:
    """Image (B, 3, H, W) seen along offsets (B, 2, H, W) x, y in pixels: bilinear, borders repeated."""
    _, _, h, w = image.shape
    x = torch.arange(w, device=image.device, dtype=offset.dtype) + offset[:, 0]
    y = torch.arange(h, device=image.device, dtype=offset.dtype)[:, None] + offset[:, 1]
    grid = torch.stack([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1], dim=-1)
    return F.grid_sample(image.to(offset.dtype), grid, padding_mode="border", align_corners=False)


class DetailRefiner(ModelMixin, ConfigMixin):
    """Alignment at /4 and, along the offsets it finds, of pixels.

    Args:
        features: M, channels of x^_c and y^.
        channels: width of the alignment.
        detail: width where the fetched pixels are laid over the picture.
        blocks: alignment blocks.
        heads: attention heads of a block; their number divides `channels`.
        reach: see `RowAttention`, in positions of `patch` pixels.
        patch: pixels to a position.
    """

    @register_to_config
    def __init__(
        self,
        features: int = 192,
        channels: int = 64,
        detail: int = 96,
        blocks: int = 2,
        heads: int = 2,
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
        self.in_features_y = nn.Sequential(nn.Conv2d(features, 4 * channels, 1), nn.PixelShuffle(2))
        self.mix_x, self.mix_y = ResBlock(channels), ResBlock(channels)
        self.align = nn.ModuleList(AlignmentBlock(channels, heads, reach) for _ in range(blocks))
        self.shift = nn.Conv2d(channels, 2, 3, padding=1)
        self.in_detail = nn.Conv2d(channels, detail, 1)
        self.in_fetched = nn.Conv2d(2 * pixels, detail, 3, padding=1)
        self.mix_detail = ResBlock(detail)
        self.gate = nn.Conv2d(detail, patch * patch, 3, padding=1)
        self.out = nn.Conv2d(detail, pixels, 3, padding=1)
        for layer in (self.out, self.shift, self.gate):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, picture: Tensor, x_c: Tensor, side: Tensor, y_hat: Tensor, mask: Tensor, present: Tensor
    ) -> tuple[Tensor, list[Match]]:
        """Refines a decoded picture.

        Args:
            picture: (B, 3, H, W), about [-1, 1].
            x_c: cluster-fused features (B, M, H/16, W/16).
            side: side image (B, 3, H, W) in [-1, 1].
            y_hat: its features where they are (B, M, H/16, W/16).
            mask: m_v (B, 1, H/16, W/16) in [0, 1].
            present: (B, 1, 1, 1), 1 where there is a side image, else 0.

        Returns:
            The refined picture (B, 3, H, W); where each block looked, and last the offsets along which the pixels were
            fetched, all in positions of `patch` pixels.
        """
        patch = self.config.patch
        x = self.unshuffle(picture).contiguous(memory_format=torch.channels_last)
        y = self.unshuffle(side).contiguous(memory_format=torch.channels_last)
        size = x.shape[-2:]

        def spread(t: Tensor) -> Tensor:
            return F.interpolate(t, size=size, mode="bilinear", align_corners=False)

        share = present * spread(mask)
        x = self.mix_x(self.in_x(x) + self.in_mask(share) + spread(self.in_features(x_c)))
        y = self.mix_y(self.in_y(y) + spread(self.in_features_y(y_hat)))
        matches: list[Match] = []
        for block in self.align:
            x, match = block(x, y, share)
            matches.append(match)
        # Sharp where the attention is: the features know by how much its mean is off.
        offset = matches[-1].offset + self.shift(x)
        matches.append(Match(matches[-1].probability, offset))
        pixels = F.interpolate(patch * offset, scale_factor=patch, mode="bilinear", align_corners=False)
        fetched = fetch(side, pixels)
        seen = torch.cat([self.unshuffle(fetched), self.unshuffle(fetched - picture)], dim=1)
        seen = self.in_fetched(seen.contiguous(memory_format=torch.channels_last))
        x = self.mix_detail(self.in_detail(x) + share * seen)
        gate = self.shuffle(share * torch.sigmoid(self.gate(x) - 1.0))
        return picture + gate * (fetched - picture) + self.shuffle(self.out(x)), matches
