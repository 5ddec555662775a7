"""Detail refiner: the side image's own pixels reach the picture where they are visible (ours, not the paper's).

Runs after the LDM decoder. The decoded picture has more detail than the tokens, so here the offsets of the alignment at
/8 are corrected: at /4, by comparing features of both views at /2. Then the side image is warped along them pixel by
pixel and blended into the picture under a gate that opens where the two agree. An offset is rarely right to the pixel,
so what is blended is a weighted mean of the seven pixels around it on its row (compare Niklaus et al., 2017, arXiv
1703.07514). For the least squared error the mean is wide where the offset is uncertain; with `sharp` it is trained for
pictures that look real.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mdic_ros.models.layers import ResBlock, warp
from mdic_ros.models.offset_refinement import ConvexUpsample, OffsetUpdate
from mdic_ros.models.side_alignment import Match

#: Factor on the vector that `sharp` adds. Adam moves a weight by about the learning rate per step, which would be too
#: little within the few steps of the stage that trains it.
SHARP_GAIN = 64


class DetailRefiner(ModelMixin, ConfigMixin):
    """Corrects offsets and blends the side image's pixels into the picture along them.

    Args:
        features: M, channels of x^_c and y^.
        channels: channels of the state from which offsets are corrected.
        detail: channels where warped pixels are blended into the picture.
        patch: pixels per position, even.
        updates: number of corrections of the offsets.
        fine: channels of the features at /2 that are compared for a correction.
        around: pixels to the left and to the right of where an offset points that are blended, too.
    """

    @register_to_config
    def __init__(
        self,
        features: int = 192,
        channels: int = 64,
        detail: int = 96,
        patch: int = 4,
        updates: int = 2,
        fine: int = 16,
        around: int = 3,
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
        self.shift = nn.Conv2d(channels, 2, 3, padding=1)
        self.compare = _Fine(fine, patch)
        self.to_fine_x, self.to_fine_y = (
            nn.Sequential(nn.Conv2d(channels, 4 * fine, 1), nn.PixelShuffle(2)) for _ in range(2)
        )
        self.corrections = nn.ModuleList(OffsetUpdate(channels) for _ in range(updates))
        self.upsample = ConvexUpsample(channels, patch)
        self.in_detail = nn.Conv2d(channels, detail, 1)
        self.in_fetched = nn.Conv2d(2 * pixels, detail, 3, padding=1)
        self.sharp = nn.Parameter(torch.zeros(1, detail, 1, 1))
        self.mix_detail = nn.Sequential(ResBlock(detail), ResBlock(detail))
        self.share_out = nn.Conv2d(detail, (2 * around + 1) * patch * patch, 3, padding=1)
        self.gate = nn.Conv2d(detail, patch * patch, 3, padding=1)
        self.out = nn.Conv2d(detail, pixels, 3, padding=1)
        for layer in (self.out, self.shift, self.gate, self.share_out, self.to_fine_x[0], self.to_fine_y[0]):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
        with torch.no_grad():  # before training the weight is mostly on the pixel that the offset points at
            assert self.share_out.bias is not None
            near = -3.0 * torch.arange(-around, around + 1).abs()
            self.share_out.bias.copy_(near.repeat_interleave(patch * patch))

    def forward(
        self,
        picture: Tensor,
        x_c: Tensor,
        side: Tensor,
        y_hat: Tensor,
        offset: Tensor,
        mask: Tensor,
        present: Tensor,
        sharp: Tensor,
    ) -> tuple[Tensor, list[Match]]:
        """Refines a decoded picture.

        Args:
            picture: (B, 3, H, W), about [-1, 1].
            x_c: cluster-fused features (B, M, H/16, W/16).
            side: side image (B, 3, H, W) in [-1, 1].
            y_hat: its features, not aligned (B, M, H/16, W/16).
            offset: x, y from the coded to the side view (B, 2, H/8, W/8), in positions of 8 pixels.
            mask: m_v (B, 1, H/16, W/16) in [0, 1].
            present: (B, 1, 1, 1), 1 where there is a side image, else 0.
            sharp: (B, 1, 1, 1), 1 for a picture that looks real, 0 for one of least squared error.

        Returns:
            The refined picture (B, 3, H, W); and offsets: those before the first correction and after each, in
            positions of `patch` pixels, and last those in pixels along which the side image was warped.
        """
        x = self.unshuffle(picture).contiguous(memory_format=torch.channels_last)
        y = self.unshuffle(side).contiguous(memory_format=torch.channels_last)
        size = x.shape[-2:]

        def spread(t: Tensor) -> Tensor:
            return F.interpolate(t, size=size, mode="bilinear", align_corners=False)

        share = present * spread(mask)
        x = self.mix_x(self.in_x(x) + self.in_mask(share) + spread(self.in_features(x_c)))
        y = self.mix_y(self.in_y(y) + spread(self.in_features_y(y_hat)))
        fine_x, fine_y = self.compare(picture, self.to_fine_x(x)), self.compare(side, self.to_fine_y(y))
        offset = spread(offset) * (size[1] / offset.shape[-1]) + self.shift(x)
        matches = [Match(None, offset)]
        for correct in self.corrections:
            x, offset = correct(x, offset, fine_x, fine_y, share)
            matches.append(Match(None, offset))
        pixels = self.upsample(offset, x)
        matches.append(Match(None, pixels))
        around = self._warp_around(side, pixels)
        warped = around[:, around.shape[1] // 2]
        seen = torch.cat([self.unshuffle(warped), self.unshuffle(warped - picture)], dim=1)
        seen = self.in_fetched(seen.contiguous(memory_format=torch.channels_last))
        x = self.mix_detail(self.in_detail(x) + share * seen + SHARP_GAIN * sharp * self.sharp)
        gate = self.shuffle(share * torch.sigmoid(self.gate(x) - 1.0))
        mixed = (self.shuffle(self.share_out(x)).softmax(1).unsqueeze(2) * around).sum(1)
        return picture + gate * (mixed - picture) + self.shuffle(self.out(x)), matches

    def _warp_around(self, side: Tensor, pixels: Tensor) -> Tensor:
        """Warps the side image (B, 3, H, W) along offsets (B, 2, H, W) and along their left and right neighbours.

        Returns:
            (B, n, 3, H, W), n = 2 * around + 1, from the leftmost to the rightmost; see `warp` for the conventions.
        """
        reach, w = int(self.config.around), side.shape[-1]
        padded = F.pad(side, (reach, reach, 0, 0), mode="replicate")
        shifted = torch.cat([padded[..., n : n + w] for n in range(2 * reach + 1)], dim=1)
        return warp(shifted, pixels).unflatten(1, (2 * reach + 1, 3))


class _Fine(nn.Module):
    """Features of a view at /2 for comparison, from its pixels and from features of the state."""

    def __init__(self, fine: int, patch: int) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(patch // 2)
        self.pixels = nn.Conv2d(3 * (patch // 2) ** 2, fine, 3, padding=1)
        self.mix = ResBlock(fine)

    def forward(self, image: Tensor, known: Tensor) -> Tensor:
        return self.mix(self.pixels(self.unshuffle(image).contiguous(memory_format=torch.channels_last)) + known)
