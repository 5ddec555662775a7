"""Refinement of offsets between two views (ours, not the paper's).

`OffsetUpdate` warps the side view along the offsets, compares it with the picture, and corrects the offsets, as optical
flow networks do (Sun et al., 2018, arXiv 1709.02371; Teed and Deng, 2020, arXiv 2003.12039).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdic_ros.models.layers import ResBlock, warp


class OffsetUpdate(nn.Module):
    """Corrects offsets by comparing the picture with the side view warped along them.

    Args:
        channels: channels of the state.
        reach: positions of the finer features to the left and to the right of the offset that are compared, too.
    """

    def __init__(self, channels: int, reach: int = 3) -> None:
        super().__init__()
        self.reach = reach
        #: Rows and columns that are added to the offset for each comparison.
        self.steps = [(0, dx) for dx in range(-reach, reach + 1)] + [(-1, 0), (1, 0)]
        self.unshuffle = nn.PixelUnshuffle(2)
        self.body = nn.Sequential(
            nn.Conv2d(channels + 4 * len(self.steps) + 2, channels, 3, padding=1),
            nn.SiLU(),
            ResBlock(channels),
            nn.SiLU(),
        )
        self.state = nn.Conv2d(channels, channels, 3, padding=1)
        self.change = nn.Conv2d(channels, 2, 3, padding=1)
        for layer in (self.state, self.change):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, x: Tensor, offset: Tensor, fine_x: Tensor, fine_y: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        """State and offset, corrected.

        Args:
            x: state (B, C, h, w).
            offset: (B, 2, h, w) x, y in positions; see `warp` for the conventions.
            fine_x, fine_y: features of both views to compare (B, E, 2h, 2w).
            share: (B, 1, h, w), weight of the side view.

        Returns:
            State and offset after the correction, in the same shapes.
        """
        offset_now = offset.detach()  # the gradient of a warp does not point towards the right offset
        along = warp(fine_y, F.interpolate(2 * offset_now, scale_factor=2, mode="bilinear", align_corners=False))
        h, w = fine_x.shape[-2:]
        padded = F.pad(along, (self.reach, self.reach, 1, 1), mode="replicate")
        costs = [
            (fine_x - padded[:, :, 1 + dy : 1 + dy + h, self.reach + dx : self.reach + dx + w]).square().mean(1)
            for dy, dx in self.steps
        ]
        known = share * torch.cat([self.unshuffle(torch.stack(costs, dim=1)), 0.1 * offset_now], dim=1)
        found = self.body(torch.cat([x, known], dim=1).contiguous(memory_format=torch.channels_last))
        return x + self.state(found), offset + self.change(found)


class ConvexUpsample(nn.Module):
    """Offsets of positions to offsets of pixels: a convex combination of the 3 x 3 neighbours (arXiv 2003.12039).

    Unlike interpolation it keeps the edge between a near object and its background.
    """

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.weights = nn.Conv2d(channels, 9 * patch * patch, 3, padding=1)
        with torch.no_grad():
            for parameter in self.weights.parameters():
                parameter.zero_()
            # Begin near bilinear interpolation: the weight falls with the distance from the middle of the position.
            at = (torch.arange(patch) + 0.5) / patch - 0.5
            near = torch.stack([1 - (at - n).abs() for n in (-1, 0, 1)]).clamp(min=0.02)
            both = near[:, None, :, None] * near[None, :, None, :]
            assert self.weights.bias is not None
            self.weights.bias.copy_(both.log().flatten())

    def forward(self, offset: Tensor, x: Tensor) -> Tensor:
        """(B, 2, h, w) in positions and features (B, C, h, w), to (B, 2, H, W) in pixels."""
        b, _, h, w = offset.shape
        weights = self.weights(x).float().view(b, 1, 9, self.patch, self.patch, h, w).softmax(2)
        around = F.unfold(F.pad(self.patch * offset, (1, 1, 1, 1), mode="replicate"), 3)
        around = around.view(b, 2, 9, 1, 1, h, w)
        mixed = weights[:, :, 0] * around[:, :, 0]
        for n in range(1, 9):  # one at a time, since all nine take a gigabyte for a large image
            mixed = mixed + weights[:, :, n] * around[:, :, n]
        return mixed.permute(0, 1, 4, 2, 5, 3).reshape(b, 2, self.patch * h, self.patch * w)
