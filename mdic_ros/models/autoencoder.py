"""LDM autoencoder: the frozen image <-> latent transform in front of everything else (paper, section 3.1).

The networks are diffusers' own (`AutoencoderKL` of Stable Diffusion 2.1, or a small one). This module adds a
deterministic latent (the mode, never a sample, so that both ends agree) and a pixel-unshuffle stem: an autoencoder with
3 * p * p `in_channels` takes blocks of p x p pixels as channels. Stable Diffusion has p = 1, the small bundle p = 4,
which saves most of the arithmetic of the full-resolution layers.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor


def patch_size(vae: AutoencoderKL) -> int:
    """Side p of the pixel blocks that the autoencoder takes as channels (in_channels = 3 * p * p)."""
    p = math.isqrt(vae.config.in_channels // 3)
    if 3 * p * p != vae.config.in_channels:
        raise ValueError(f"in_channels must be 3 * p * p, got {vae.config.in_channels}")
    return p


def downscale(vae: AutoencoderKL) -> int:
    """Pixels per latent position along each axis (8 for Stable Diffusion and for the small bundle)."""
    return patch_size(vae) * 2 ** (len(vae.config.block_out_channels) - 1)


def encode_latent(vae: AutoencoderKL, image: Tensor, *, sample: bool = False) -> Tensor:
    """Image to scaled latent, z = E(I).

    Args:
        vae: the autoencoder; only its encoder half is used.
        image: (B, 3, H, W) float in [-1, 1], H and W multiples of `downscale(vae)`.
        sample: draw from the posterior; for training the autoencoder only.

    Returns:
        (B, C, H/8, W/8) latent, about zero mean and unit variance.
    """
    blocks = F.pixel_unshuffle(image, patch_size(vae)).contiguous(memory_format=torch.channels_last)
    moments = vae.quant_conv(vae.encoder(blocks)) if vae.quant_conv is not None else vae.encoder(blocks)
    mean, log_variance = moments.chunk(2, dim=1)
    if sample:
        mean = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance.clamp(-30, 20))
    shift = vae.config.shift_factor or 0.0
    return (mean - shift) * vae.config.scaling_factor


def decode_latent(vae: AutoencoderKL, z: Tensor) -> Tensor:
    """Scaled latent (B, C, h, w) to image (B, 3, 8h, 8w), float, about [-1, 1] (not clamped)."""
    z = z / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
    return F.pixel_shuffle(vae.decode(z).sample, patch_size(vae))
