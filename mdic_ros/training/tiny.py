"""A bundle of real modules in tiny sizes with seeded random weights: for tests and for trying things out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler

from mdic_ros.training.autoencoder import SMALL_VAE
from mdic_ros.training.bundling import finish_bundle
from mdic_ros.training.captioner import CaptionerConfig, build_captioner, save_captioner
from mdic_ros.training.codec import SCHEDULER, SMALL_UNET, CodecConfig, build
from mdic_ros.training.tokenizer import build_tokenizer

TINY_VAE = {**SMALL_VAE, "block_out_channels": (16, 16), "norm_num_groups": 8}
TINY_UNET = {
    **SMALL_UNET,
    "block_out_channels": (16, 16, 16),
    "cross_attention_dim": 32,
    "norm_num_groups": 8,
}
SENTENCES = ("a red car drives along a street with trees", "a person walks past a white van and a building")


def make_bundle(
    path: Path, seed: int = 0, *, vae_config: dict[str, Any] | None = None, unet_config: dict[str, Any] | None = None
) -> Path:
    """Writes a bundle of a few MB whose pictures mean nothing but depend on everything they should.

    Other configurations of the autoencoder and the denoiser, such as Stable Diffusion's in tiny sizes, may be given.
    """
    path.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = build_tokenizer(SENTENCES)
        vae = AutoencoderKL(**(vae_config or TINY_VAE))
        config = CodecConfig(
            features=32,
            channels=16,
            codebook_size=64,
            condition=8,
            refiner={"channels": 16, "detail": 16},
            prior={"dim": 32, "num_layers": 2, "token_dim": 16},
            unet=unet_config or TINY_UNET,
        )
        parts = build(config, vae.config.latent_channels, len(tokenizer))
        # What starts at zero in training would make the picture blind to its inputs.
        for part in parts.values():
            for parameter in part.parameters():
                if not parameter.any():
                    torch.nn.init.normal_(parameter, std=0.05)
        captioner = build_captioner(
            tokenizer, CaptionerConfig(hidden_size=32, heads=2, vision_layers=1, text_layers=1), (32, 64)
        )
    for name, part in {"vae": vae, **parts}.items():
        part.save_pretrained(path / name)
    DDIMScheduler(**SCHEDULER).save_pretrained(path / "scheduler")
    tokenizer.save_pretrained(path / "tokenizer")
    save_captioner(captioner, path / "captioner")
    finish_bundle(path, f"tiny_{seed}")
    return path
