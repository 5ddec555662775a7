"""Stage 1: the LDM autoencoder. Its encoder is frozen afterwards, as the paper freezes Stable Diffusion's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from pydantic import AfterValidator, NonNegativeFloat
from torch import Tensor

from mdic_ros.models.autoencoder import decode_latent, downscale, encode_latent
from mdic_ros.training.bundling import write_component
from mdic_ros.training.config import Options, builds
from mdic_ros.training.data import Batch

#: A 2.9 M-parameter /8 autoencoder with eight channels and a 4x4 pixel-unshuffle stem.
SMALL_VAE = {
    "in_channels": 48,
    "out_channels": 48,
    "latent_channels": 8,
    "block_out_channels": (96, 128),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "layers_per_block": 1,
    "norm_num_groups": 16,
    "mid_block_add_attention": False,
    "scaling_factor": 1.0,
    "shift_factor": 0.0,
}


def _check_geometry(vae: dict[str, Any]) -> dict[str, Any]:
    with torch.device("meta"):
        network = AutoencoderKL(**vae)
    factor = downscale(network)
    if network.config.out_channels != network.config.in_channels:
        raise ValueError("in_channels and out_channels must be the same")
    if factor != 8:
        raise ValueError(f"its latents are {factor} times smaller than the picture, they must be 8 times smaller")
    return vae


class AutoencoderConfig(Options):
    """Stage options, under `autoencoder:` in the YAML."""

    multiple: ClassVar[int] = 8  #: of pixels, that the sides of the crops must be
    #: all arguments of diffusers' AutoencoderKL
    vae: Annotated[dict[str, Any], builds(AutoencoderKL), AfterValidator(_check_geometry)] = SMALL_VAE
    kl_weight: NonNegativeFloat = 1e-6
    l1_weight: NonNegativeFloat = 0.1


class AutoencoderStage:
    """L2 + L1 reconstruction with a small KL term that keeps the latent smooth (latent diffusion, section 3.1)."""

    def __init__(self, config: AutoencoderConfig, held_out: Batch, device: torch.device) -> None:
        self.config, self.held_out, self.device = config, held_out, device
        self.network: AutoencoderKL = AutoencoderKL(**config.vae).to(device)
        self.network.to(memory_format=torch.channels_last)

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar loss of the coded views, and their PSNR in dB. `progress` is not used."""
        image = batch.x.to(self.device)
        z = encode_latent(self.network, image, sample=True)
        output = decode_latent(self.network, z).float()
        l2, l1 = F.mse_loss(output, image), F.l1_loss(output, image)
        # Only the mean's half of the KL divergence: it keeps the latent near unit scale.
        kl = 0.5 * z.float().square().mean()
        loss = l2 + self.config.l1_weight * l1 + self.config.kl_weight * kl
        return loss, {"psnr": psnr(l2)}

    def validate(self) -> dict[str, float]:
        """`psnr` in dB on the held-out pictures, and `latent_std`, the deviation that `save` scales to 1."""
        image = self.held_out.x.to(self.device)
        z = encode_latent(self.network, image)
        # Diffusion needs a latent of zero mean and unit variance, which two constants provide.
        scale, shift = self.network.config.scaling_factor, self.network.config.shift_factor
        raw = z.float() / scale + shift
        output = decode_latent(self.network, z).float().clamp(-1, 1)
        self.latent_mean, self.latent_std = raw.mean().item(), raw.std().item()
        return {"psnr": psnr(F.mse_loss(output, image)).item(), "latent_std": self.latent_std}

    def pictures(self) -> dict[str, Tensor]:
        """The first held-out pictures, and their reconstructions."""
        image = self.held_out.x[:4].to(self.device)
        return {"original": image, "autoencoder": decode_latent(self.network, encode_latent(self.network, image))}

    def save(self, bundle: Path) -> None:
        """Writes BUNDLE/vae, scaled by the last `validate` to latents of mean 0 and deviation 1."""
        before = self.network.config.scaling_factor, self.network.config.shift_factor
        self.network.register_to_config(scaling_factor=1 / self.latent_std, shift_factor=self.latent_mean)
        write_component(self.network, bundle / "vae")
        self.network.register_to_config(scaling_factor=before[0], shift_factor=before[1])


def psnr(mse: Tensor) -> Tensor:
    """PSNR in dB of a mean squared error between images in [-1, 1]; scalars, without a gradient."""
    return -10 * torch.log10(mse.detach() / 4)
