"""Multi-scale residual vector quantisation: features <-> indices on token grids from coarse to fine.

The residual pyramid is that of VAR (Tian et al., 2024, arXiv 2404.02905): each grid codes the residual of the coarser
ones, so any prefix of the grids is a valid, coarser picture. A single grid of "1" is the layout of the paper
(section 3.2).

Codes are compared in 32 dimensions as in the paper, but by Euclidean distance, not by cosine similarity. Residuals are
near zero where the picture is flat, and by distance they all get one code, which is cheap under the prior. Cosine
similarity scales the noise of flat places to unit length, so that they cost as many bits as foliage.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from vector_quantize_pytorch import VectorQuantize

from mdic_ros.models.token_grid import token_grid


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
        self.project_in = nn.Conv2d(features, codebook_dim, 1)
        self.project_out = nn.Conv2d(codebook_dim, features, 1)
        self.quantizers = nn.ModuleList(
            VectorQuantize(
                dim=codebook_dim,
                codebook_size=codebook_size,
                decay=0.98,
                threshold_ema_dead_code=0.01,
                rotation_trick=False,  # the scaled gradients of five residuals in a row would not add up to one
                commitment_weight=1.0,
            )
            for _ in grids
        )
        # Between the tokens of a grid: bilinear upsampling, then a learned correction (VAR's phi).
        self.phi = nn.ModuleList(nn.Conv2d(codebook_dim, codebook_dim, 3, padding=1) for _ in grids)
        for parameter in self.phi.parameters():
            nn.init.zeros_(parameter)

    def grid(self, scale: int, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of a token grid, for a feature grid of height x width."""
        return token_grid(self.fractions[scale], height, width)

    def expect(self, batch: int, height: int, width: int, *, fresh: bool = True) -> None:
        """Sets how seldom a code must be used to count as dead, for training batches of height x width feature grids.

        A code that gets less than a fiftieth of its share is replaced by a feature of the batch. With `fresh` all codes
        count as dead now, so that the codebooks begin as samples of the first batch.
        """
        for scale, quantizer in enumerate(self.quantizers):
            rows, columns = self.grid(scale, height, width)
            share = batch * rows * columns / self.config.codebook_size
            codebook: Any = quantizer._codebook
            codebook.threshold_ema_dead_code = codebook.reset_cluster_size = 0.02 * share
            if fresh:
                codebook.cluster_size.zero_()

    def forward(
        self, features: Tensor, *, learn: bool = True, soft: bool = False
    ) -> tuple[list[Tensor], list[Tensor], Tensor, list[Tensor]]:
        """Quantises features.

        Args:
            features: (B, M, h, w), h and w multiples of four.
            learn: in training mode, move the codebooks towards these features; off for the side image, whose
                features are to fit the codebooks of the coded one.
            soft: also assign softly, for a rate whose gradient reaches the encoder.

        Returns:
            Per grid the reconstruction x^ from it and all coarser ones, (B, M, h, w); per grid the indices (B, h_k,
            w_k) int64; the commitment loss, a scalar, 0 outside training; and, if `soft`, per grid the soft assignments
            (B, h_k, w_k, K) that sum to one (as RDVQ, 2026: a softmax over negative distances), else no item.
        """
        _, _, h, w = features.shape
        with torch.autocast(features.device.type, enabled=False):
            target = self.project_in(features.float())
            total = torch.zeros_like(target)
            partial, indices, assignments = [], [], []
            commitment = target.new_zeros(())
            for scale, quantizer in enumerate(self.quantizers):
                grid = self.grid(scale, h, w)
                # A grid's loss reaches the features directly; the straight-through gradient goes through all grids, so
                # that an error that a finer grid corrects does not count twice.
                tokens, through = (self._tokens(target - before, grid) for before in (total.detach(), total))
                if self.training:
                    code, index, loss = quantizer(tokens, freeze_codebook=not learn)
                    # Relative to the spread of the features, so that shrinking all of them gains nothing.
                    commitment = commitment + loss.sum() / target.detach().var().clamp(min=1e-6)
                else:
                    code, index = self._nearest(scale, tokens)
                indices.append(index.view(-1, *grid))
                if soft:
                    assignments.append(self._assign(scale, tokens).unflatten(1, grid))
                code = through + (code - through).detach()
                total = total + self._spread(scale, code, grid, (h, w))
                partial.append(self.project_out(total))
        return partial, indices, commitment / len(self.quantizers), assignments

    def dequantize(self, indices: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Indices of the first grids, (B, h_k, w_k) int64 each, to x^ (B, M, *size)."""
        return self.project_out(self.codes(indices, size))

    def comparable(self, features: Tensor) -> Tensor:
        """Features (B, M, h, w) as they are compared with codes, (B, d, h, w)."""
        return self.project_in(features.float())

    def codes(self, indices: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Sum of the codes of the first grids, (B, h_k, w_k) int64 each, upsampled: (B, d, *size)."""
        total: Tensor | None = None
        for scale, index in enumerate(indices):
            code = cast(VectorQuantize, self.quantizers[scale]).get_output_from_indices(index.flatten(1))
            part = self._spread(scale, code, (index.shape[1], index.shape[2]), size)
            total = part if total is None else total + part
        if total is None:
            raise ValueError("no indices: at least the coarsest grid is needed")
        return total

    @staticmethod
    def _tokens(left_over: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, d, h, w) to (B, h_k * w_k, d)."""
        if grid != left_over.shape[-2:]:
            left_over = F.adaptive_avg_pool2d(left_over, grid)
        return left_over.flatten(2).transpose(1, 2)

    def _nearest(self, scale: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, n, d) to their nearest codes (B, n, d) and the indices of these, (B, n).

        The same as `VectorQuantize` in evaluation mode, which takes three times as long for small grids.
        """
        codes = cast(VectorQuantize, self.quantizers[scale]).codebook.detach()
        index = self._distances(codes, tokens).argmin(-1)
        return codes[index], index

    @staticmethod
    def _distances(codes: Tensor, tokens: Tensor) -> Tensor:
        """Squared distances of tokens (B, n, d) from codes (K, d): (B, n, K)."""
        return tokens.square().sum(-1, keepdim=True) - 2 * tokens @ codes.t() + codes.square().sum(-1)

    def _assign(self, scale: int, tokens: Tensor) -> Tensor:
        """(B, n, d) to (B, n, K): softmax of -2 d / s; d: squared distances, s: mean of each token's smallest."""
        distance = self._distances(cast(VectorQuantize, self.quantizers[scale]).codebook.detach(), tokens)
        scale_of = distance.detach().amin(-1).mean().clamp(min=1e-6)
        return (-2 * distance / scale_of).softmax(-1)

    def _spread(self, scale: int, code: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Codes (B, h_k * w_k, d) of a grid, upsampled and corrected by phi: (B, d, *size)."""
        code = code.transpose(1, 2).unflatten(2, grid)
        if grid != size:
            code = F.interpolate(code, size=size, mode="bilinear", align_corners=False)
        return code + self.phi[scale](code)
