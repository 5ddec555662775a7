"""Multi-scale residual vector quantisation: features <-> indices on token grids from coarse to fine.

The codebooks are the paper's (cosine similarity, dimension 32, section 3.2), one per grid; the residual pyramid is that
of VAR (Tian et al., 2024, arXiv 2404.02905): each grid codes what the coarser ones left over, so any prefix of the
indices is a picture. A single grid is the paper's own layout: a list of length one.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from vector_quantize_pytorch import VectorQuantize


class MultiScaleQuantizer(ModelMixin, ConfigMixin):
    """Residual pyramid of vector quantisers.

    Args:
        features: M, channels of the features.
        codebook_size: K, codes of each grid.
        codebook_dim: dimension in which codes are compared.
        grids: size of each token grid as a fraction of the feature grid, in quarters, coarse to fine ("1/4", "1").
    """

    @register_to_config
    def __init__(
        self,
        features: int = 192,
        codebook_size: int = 1024,
        codebook_dim: int = 32,
        grids: tuple[str, ...] = ("1/4", "1/2", "3/4", "1", "1"),
    ) -> None:
        super().__init__()
        self.fractions = [Fraction(g) for g in grids]
        if any(4 % f.denominator or not 0 < f <= 1 for f in self.fractions):
            raise ValueError(f"grids must be quarters, halves or the whole of the feature grid, not {grids}")
        self.quantizers = nn.ModuleList(
            VectorQuantize(
                dim=features,
                codebook_size=codebook_size,
                codebook_dim=codebook_dim,
                use_cosine_sim=True,
                decay=0.98,
                threshold_ema_dead_code=0.01,
                rotation_trick=True,
                commitment_weight=1.0,
                layernorm_after_project_in=False,
            )
            for _ in grids
        )
        # What a grid says between its tokens: bilinear upsampling, then a learned touch-up (VAR's phi).
        self.phi = nn.ModuleList(nn.Conv2d(features, features, 3, padding=1) for _ in grids)
        for parameter in self.phi.parameters():
            nn.init.zeros_(parameter)

    def grid(self, scale: int, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of a token grid, for a feature grid of height x width."""
        fraction = self.fractions[scale]
        return int(height * fraction), int(width * fraction)

    def expect(self, batch: int, height: int, width: int) -> None:
        """Sets below which use a code counts as dead, for training batches of feature grids of height x width.

        A code that gets less than a twentieth of its share is replaced by a feature of the batch. All codes count as
        dead at the start, so the codebooks begin as samples of the first batch.
        """
        for scale, quantizer in enumerate(self.quantizers):
            rows, columns = self.grid(scale, height, width)
            share = batch * rows * columns / self.config.codebook_size
            codebook: Any = quantizer._codebook
            codebook.threshold_ema_dead_code = codebook.reset_cluster_size = 0.05 * share
            codebook.cluster_size.zero_()

    def forward(self, features: Tensor, *, learn: bool = True) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Quantises features.

        Args:
            features: (B, M, h, w), h and w multiples of four.
            learn: in training mode, move the codebooks towards these features; off for the side image, whose
                features are to fit the codebooks of the coded one.

        Returns:
            Per grid the reconstruction x^ from it and all coarser ones, (B, M, h, w); per grid the indices
            (B, h_k, w_k) int64; and the commitment loss, a scalar.
        """
        _, _, h, w = features.shape
        features = features.float()
        total = torch.zeros_like(features)
        partial, indices = [], []
        commitment = features.new_zeros(())
        for scale, quantizer in enumerate(self.quantizers):
            grid = self.grid(scale, h, w)
            left_over = features - total.detach()
            if grid != (h, w):
                left_over = F.adaptive_avg_pool2d(left_over, grid)
            tokens = left_over.flatten(2).transpose(1, 2)
            with torch.autocast(features.device.type, enabled=False):
                code, index, loss = quantizer(tokens, freeze_codebook=not learn)
            indices.append(index.view(-1, *grid))
            total = total + self._spread(scale, code, grid, (h, w))
            partial.append(total)
            commitment = commitment + loss.sum()
        return partial, indices, commitment / len(self.quantizers)

    def dequantize(self, indices: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Indices of the first grids, (B, h_k, w_k) int64 each, to x^ (B, M, *size)."""
        total: Tensor | None = None
        for scale, index in enumerate(indices):
            code = cast(VectorQuantize, self.quantizers[scale]).get_output_from_indices(index.flatten(1))
            part = self._spread(scale, code, (index.shape[1], index.shape[2]), size)
            total = part if total is None else total + part
        if total is None:
            raise ValueError("no indices: at least the coarsest grid is needed")
        return total

    def _spread(self, scale: int, code: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        code = code.transpose(1, 2).unflatten(2, grid)
        if grid != size:
            code = F.interpolate(code, size=size, mode="bilinear", align_corners=False)
        return code + self.phi[scale](code)
