"""Training stage of the prior alone, on the tokens of a codec that is done.

In the joint training the tokens keep changing, and the prior gets few steps. Here only tokens and the prior are
computed, so a few minutes give many more steps, and fewer bytes for the same pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from mdic_ros.codec.bitstream import MULTIPLE
from mdic_ros.models.autoencoder import encode_latent
from mdic_ros.models.entropy.model import EntropyModel
from mdic_ros.models.hyper_align import HyperAlign
from mdic_ros.models.quantizer import MultiScaleQuantizer
from mdic_ros.training.bundling import component_folder, write_component
from mdic_ros.training.config import Options, Share
from mdic_ros.training.data import Batch


class PriorConfig(Options):
    """Options of the stage, under `prior:`."""

    multiple: ClassVar[int] = MULTIPLE  #: of pixels, that the sides of the crops must be
    dropout: Share = 0.1
    fresh: bool = False  #: start from new weights, not from the bundle's


class PriorStage:
    """Tokens of both views of every pair, by the bundle's frozen codec; cross-entropy in bits per token."""

    def __init__(self, config: PriorConfig, bundle: Path, held_out: Batch, device: torch.device) -> None:
        self.held_out, self.device = held_out, device

        def frozen(kind: type[nn.Module], name: str) -> nn.Module:
            part = kind.from_pretrained(  # type: ignore[attr-defined]
                component_folder(bundle, name), local_files_only=True, use_safetensors=True
            )
            return part.to(device).eval().requires_grad_(False)

        self.vae = frozen(AutoencoderKL, "vae")
        self.hyper_align = frozen(HyperAlign, "hyper_align")
        self.quantizer = frozen(MultiScaleQuantizer, "quantizer")
        prior = EntropyModel.from_pretrained(
            component_folder(bundle, "entropy_model"), local_files_only=True, use_safetensors=True
        )
        if config.fresh:
            prior = EntropyModel.from_config(prior.config)
        prior.register_to_config(dropout=config.dropout)
        self.prior = prior.to(device)
        self.network: nn.Module = self.prior

    @torch.no_grad()
    def tokens(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1] -> token grids (B, h_k, w_k)."""
        with torch.autocast(self.device.type, enabled=False):  # as the encoder computes them
            found: list[Tensor] = self.quantizer(self.hyper_align(encode_latent(self.vae, x.to(self.device))))[1]
        return found

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Bits per token of both views, a scalar, and the same as a figure. `progress` is not used."""
        tokens = self.tokens(torch.cat([batch.x, batch.y]))
        rate = self.prior.loss(tokens) / sum(grid[0].numel() for grid in tokens)
        return rate, {"rate": rate.detach()}

    def validate(self) -> dict[str, float]:
        """`bytesK`: bytes of a held-out image's tokens up to rate point K, on average, without header and checks."""
        bits = self.prior.bits(self.tokens(self.held_out.x)).mean(0).cumsum(0)
        return {f"bytes{scale}": float(b) / 8 for scale, b in enumerate(bits)}

    def save(self, bundle: Path) -> None:
        """Writes BUNDLE/entropy_model."""
        write_component(self.prior, bundle / "entropy_model")
