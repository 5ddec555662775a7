"""The workstation's half of MDIC: tokens and side image in, picture out (paper, figure 2).

    x^ --------------+--> G1 --> x^_c ---------+
    y --> z_y, y^ --> alignment --> m_v        +--> C-Conv, denoiser (z_text) --> LDM decoder --> refiner --> image
                     +--> G2 --> z_d ----------+

`MDIC.reconstruct` is this chain. The decoder runs it on packets, training on its validation images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, SchedulerMixin, UNet2DConditionModel
from torch import Tensor, nn

from mdic_ros.models.autoencoder import decode_latent, downscale, encode_latent
from mdic_ros.models.detail_refiner import DetailRefiner
from mdic_ros.models.hyper_align import HyperAlign
from mdic_ros.models.mask_generator import MaskGenerator
from mdic_ros.models.quantizer import MultiScaleQuantizer
from mdic_ros.models.side_alignment import Match, SideAlignment
from mdic_ros.models.side_fusion import SideFusion


@dataclass(frozen=True)
class Side:
    """Features of the side image I_y."""

    image: Tensor  #: (B, 3, H, W) in [-1, 1]
    z_y: Tensor  #: (B, C, H/8, W/8)
    y_hat: Tensor  #: (B, M, H/16, W/16), quantised features
    present: Tensor  #: (B, 1, 1, 1), 1 where there is a side image, 0 where there is none
    commitment: Tensor  #: commitment loss of its features, for training


@dataclass(frozen=True)
class Condition:
    """What the denoiser and the refiner are conditioned on."""

    x_c: Tensor  #: x^_c, (B, M, H/16, W/16)
    latent: Tensor  #: [z_d, projected x^_c], (B, C + condition, H/8, W/8)
    z_y: Tensor  #: aligned side latent (B, C, H/8, W/8)
    mask: Tensor  #: m_v, (B, 1, H/16, W/16) in [0, 1]
    matches: list[Match]  #: where the alignment at /8 looked, see `SideAlignment`


class MDIC(nn.Module):
    """Components of the workstation, and the order in which they run."""

    def __init__(
        self,
        *,
        vae: AutoencoderKL,
        quantizer: MultiScaleQuantizer,
        hyper_align_side: HyperAlign,
        side_alignment: SideAlignment,
        mask_generator: MaskGenerator,
        side_fusion: SideFusion,
        unet: UNet2DConditionModel,
        detail_refiner: DetailRefiner,
        scheduler: SchedulerMixin,
    ) -> None:
        super().__init__()
        self.vae = vae
        self.quantizer = quantizer
        self.hyper_align_side = hyper_align_side
        self.side_alignment = side_alignment
        self.mask_generator = mask_generator
        self.side_fusion = side_fusion
        self.unet = unet
        self.detail_refiner = detail_refiner
        self.scheduler: Any = scheduler

    def reconstruct(
        self,
        tokens: Sequence[Tensor],
        grid: tuple[int, int],
        views: Sequence[Side],
        z_text: Tensor,
        *,
        steps: int = 1,
        seed: int = 0,
        guidance: float = 1.0,
        z_empty: Tensor | None = None,
        lap: Callable[[str], None] = lambda stage: None,
    ) -> tuple[Tensor, Condition]:
        """The whole chain: token grids to picture.

        Args:
            tokens: of the first grids, coarse to fine, (B, h_k, w_k) int64 each; at least one.
            grid: rows and columns of the feature grid, (H/16, W/16).
            views: views beside the packet, see `side`; one today, which `no_side` stands in for where there is none.
            z_text: encoded captions (B, L, D).
            steps: denoising steps. One is trained for the least squared error, more for pictures that look real.
            seed: of the noise that the denoiser starts from.
            guidance: see `denoise`.
            z_empty: encoded empty captions (B, L, D), for a guidance other than 1.
            lap: called with its name when a stage has ended: "side", "denoise". The LDM decoder runs after that.

        Returns:
            Pictures (B, 3, H, W), about [-1, 1], and what they were conditioned on.

        Raises:
            ValueError: no tokens, or not one view.
        """
        if len(views) != 1:
            raise ValueError(f"{len(views)} views beside the packet, the networks take one")
        side = views[0]
        x_hat = self.quantizer.dequantize(tokens, grid)
        condition = self.condition(x_hat, side)
        lap("side")
        # On the CPU, so that one seed is one noise on every device.
        noise = torch.randn(side.z_y.shape, generator=torch.Generator().manual_seed(seed)).to(side.z_y.device)
        z = self.denoise(noise, condition, z_text, steps, guidance, z_empty)
        lap("denoise")
        picture, _ = self.pixels(z, condition, side, torch.full_like(side.present, float(steps > 1)))
        return picture, condition

    def side(self, image: Tensor, present: Tensor | None = None) -> Side:
        """Analyses side images.

        Args:
            image: (B, 3, H, W) in [-1, 1].
            present: (B, 1, 1, 1) of 0 and 1; None = all present. Where it is 0 the image has no influence.
        """
        if present is None:
            present = image.new_ones(image.shape[0], 1, 1, 1)
        image = image * present
        with torch.no_grad():
            z_y = encode_latent(self.vae, image) * present
        partial, _, commitment, _ = self.quantizer(self.hyper_align_side(z_y), learn=False)
        return Side(image, z_y, partial[-1] * present, present, commitment)

    def no_side(self, size: tuple[int, int], batch: int = 1) -> Side:
        """Stands in for a missing side image.

        Args:
            size: H and W of the padded picture, pixels.
            batch: B.
        """
        device = next(self.parameters()).device
        h, w = size[0] // downscale(self.vae), size[1] // downscale(self.vae)
        channels, features = self.vae.config.latent_channels, self.quantizer.config.features
        return Side(
            torch.zeros(batch, 3, *size, device=device),
            torch.zeros(batch, channels, h, w, device=device),
            torch.zeros(batch, features, h // 2, w // 2, device=device),
            torch.zeros(batch, 1, 1, 1, device=device),
            torch.zeros((), device=device),
        )

    def condition(self, x_hat: Tensor, side: Side) -> Condition:
        """MG-SISM on aligned side information: x^ (B, M, H/16, W/16) and the side image to the condition."""
        z_y, y_hat, matches = self.side_alignment(x_hat, side.y_hat, side.z_y)
        z_y, y_hat = z_y * side.present, y_hat * side.present
        mask = self.mask_generator(x_hat, y_hat) * side.present
        x_c, latent = self.side_fusion(x_hat, y_hat, z_y, mask)
        return Condition(x_c, latent, z_y, mask, matches)

    def velocity(self, noisy: Tensor, timestep: Tensor, condition: Condition, z_text: Tensor) -> Tensor:
        """v-prediction of the denoiser: noisy latent (B, C, h, w), timestep (B,) int64, z_text (B, L, D)."""
        stacked = torch.cat([noisy, condition.latent.to(noisy.dtype)], dim=1)
        stacked = stacked.contiguous(memory_format=torch.channels_last)
        return self.unet(stacked, timestep, encoder_hidden_states=z_text).sample

    def denoise(
        self,
        noise: Tensor,
        condition: Condition,
        z_text: Tensor,
        steps: int,
        guidance: float = 1.0,
        z_empty: Tensor | None = None,
    ) -> Tensor:
        """Runs the sampler (DDIM, eta 0) from noise (B, C, h, w) to a clean latent of that shape.

        With `z_empty` every step also runs on the empty caption, and the prediction is extrapolated from there to the
        caption by the factor `guidance` (classifier-free guidance, Ho and Salimans, 2022, arXiv 2207.12598).
        """
        self.scheduler.set_timesteps(steps, device=noise.device)
        latent = noise
        for t in self.scheduler.timesteps:
            now = t.expand(noise.shape[0])
            v = self.velocity(latent, now, condition, z_text)
            if z_empty is not None:
                without = self.velocity(latent, now, condition, z_empty)
                v = without + guidance * (v - without)
            latent = self.scheduler.step(v.to(noise.dtype), t, latent).prev_sample
        return latent

    def pixels(self, z: Tensor, condition: Condition, side: Side, sharp: Tensor) -> tuple[Tensor, list[Match]]:
        """Clean latent to picture (B, 3, H, W), about [-1, 1]: LDM decoder, refiner; and the refined offsets.

        `sharp`, (B, 1, 1, 1), is 1 for a picture that is to look real, 0 for one of least squared error.
        """
        refined: tuple[Tensor, list[Match]] = self.detail_refiner(
            decode_latent(self.vae, z),
            condition.x_c,
            side.image,
            side.y_hat,
            condition.matches[-1].offset,
            condition.mask,
            side.present,
            sharp,
        )
        return refined
