"""Stage 2: codec and decoder together (paper, section 3.5).

One loss trains HyperAlign, the codebooks, the prior, the alignment, the mask, the fusion, the text encoder and the
denoiser: v-prediction + commitment + rate + text-supervised mask, and a pixel loss through the LDM decoder on the
predicted clean picture, which also trains the refiner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from mdic_ros.models.autoencoder import encode_latent
from mdic_ros.models.entropy_model import EntropyModel
from mdic_ros.models.hyper_align import HyperAlign
from mdic_ros.models.mask_generator import MaskGenerator
from mdic_ros.models.mdic import MDIC, Side
from mdic_ros.models.quantizer import MultiScaleQuantizer
from mdic_ros.models.side_alignment import DetailRefiner, SideAlignment
from mdic_ros.models.side_fusion import SideFusion
from mdic_ros.models.text import NounPredictor, encode_text, mask_nouns, noun_loss
from mdic_ros.training.autoencoder import psnr
from mdic_ros.training.data import Batch

#: v-prediction with zero terminal signal (Lin et al., 2024, arXiv 2305.08891): the first step sees noise alone, so a
#: one-step decode is a plain regression.
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
}

SMALL_UNET = {
    "out_channels": 8,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (96, 144, 160),
    "layers_per_block": 1,
    "cross_attention_dim": 128,
    "attention_head_dim": 4,
    "norm_num_groups": 16,
}


@dataclass
class CodecConfig:
    """Stage options, under `codec:` in the YAML."""

    features: int = 192  #: M
    channels: int = 128  #: N
    codebook_size: int = 1024  #: K
    grids: tuple[str, ...] = ("1/4", "1/2", "3/4", "1", "1")
    groups: tuple[int, ...] = (1, 2, 4, 4, 4)  #: coding schedule: groups of tokens per grid
    condition: int = 48
    unet: dict = field(default_factory=lambda: dict(SMALL_UNET))
    refiner_channels: int = 96
    prior: dict = field(default_factory=dict)  #: further options of the entropy model
    rate_share: tuple[float, ...] = (0.1, 0.2, 0.35, 0.15, 0.2)  #: how often training decodes each rate point
    no_side: float = 0.15  #: share of samples without side image
    foreign_side: float = 0.05  #: share with the side image of another scene
    no_text: float = 0.1
    last_timestep: float = 0.6  #: share of samples at the first step of the sampler
    velocity_weight: float = 0.25
    pixel_weight: float = 10.0
    l1_weight: float = 0.1
    commitment_weight: float = 0.1
    rate_weight: float = 0.02  #: per bit and token
    mask_weight: float = 0.1  #: lambda_mask of the paper


def build(config: CodecConfig, vae: AutoencoderKL, vocabulary: int) -> dict[str, Any]:
    """Components of a small model around an autoencoder, with fresh weights."""
    latent = vae.config.latent_channels
    return {
        "hyper_align": HyperAlign(latent, config.channels, config.features),
        "hyper_align_side": HyperAlign(latent, config.channels, config.features),
        "quantizer": MultiScaleQuantizer(config.features, config.codebook_size, 32, config.grids),
        "entropy_model": EntropyModel(
            codebook_size=config.codebook_size,
            grids=[float(Fraction(g)) for g in config.grids],
            groups=config.groups,
            **config.prior,
        ),
        "mask_generator": MaskGenerator(config.features),
        "side_alignment": SideAlignment(latent, config.features),
        "side_fusion": SideFusion(latent, config.features, condition=config.condition),
        "unet": UNet2DConditionModel(in_channels=2 * latent + config.condition, **config.unet),
        "detail_refiner": DetailRefiner(config.features, config.refiner_channels),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=config.unet["cross_attention_dim"],
                intermediate_size=4 * config.unet["cross_attention_dim"],
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=32,
                projection_dim=128,
                bos_token_id=1,
                eos_token_id=3,
                pad_token_id=0,
            )
        ),
    }


class CodecStage:
    """The paper's joint training, with side dropout and random rate points."""

    def __init__(
        self,
        config: CodecConfig,
        vae: AutoencoderKL,
        tokenizer: Any,
        held_out: Batch,
        device: torch.device,
        batch: int,
        size: tuple[int, int],
        seed: int = 0,
    ) -> None:
        self.config, self.tokenizer, self.held_out, self.device = config, tokenizer, held_out, device
        self.rng = np.random.default_rng(seed)
        self.vae = vae.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
        self.scheduler = DDIMScheduler(**SCHEDULER)
        self.parts = build(config, vae, len(tokenizer))
        self.parts["quantizer"].expect(batch, size[0] // 16, size[1] // 16)
        inner = {
            name: self.parts[name]
            for name in (
                "quantizer",
                "hyper_align_side",
                "side_alignment",
                "mask_generator",
                "side_fusion",
                "unet",
                "detail_refiner",
            )
        }
        self.mdic = MDIC(vae=self.vae, scheduler=self.scheduler, **inner)
        self.predictor = NounPredictor(len(tokenizer), latent_channels=vae.config.latent_channels)
        # The latent stays as it is, so the encoder is frozen; its decoder may still learn what the refiner leaves it.
        self.vae.decoder.requires_grad_(True)
        self.vae.post_quant_conv.requires_grad_(True)
        network = nn.ModuleDict(
            {
                **self.parts,
                "noun_predictor": self.predictor,
                "vae_decoder": self.vae.decoder,
                "vae_post_quant_conv": self.vae.post_quant_conv,
            }
        )
        self.network: nn.Module = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, float]]:
        c, parts = self.config, self.parts
        x, y = batch.x.to(self.device), batch.y.to(self.device)
        count = x.shape[0]
        with torch.no_grad():
            z_x = encode_latent(self.vae, x).float()
        partial, indices, commitment = parts["quantizer"](parts["hyper_align"](z_x))
        scale = torch.from_numpy(self.rng.choice(len(partial), count, p=c.rate_share)).to(self.device)
        x_hat = torch.stack(partial)[scale, torch.arange(count, device=self.device)]

        draw = self.rng.random(count)
        present = torch.from_numpy((draw >= c.no_side).astype(np.float32)).to(self.device).view(-1, 1, 1, 1)
        foreign = torch.from_numpy(draw > 1 - c.foreign_side).to(self.device).view(-1, 1, 1, 1)
        side = self.mdic.side(torch.where(foreign, y.roll(1, 0), y), present)
        condition = self.mdic.condition(x_hat, side)

        keep = self.rng.random(count) >= c.no_text
        captions = [t if k else "" for t, k in zip(batch.captions, keep, strict=True)]
        z_text = encode_text(self.tokenizer, parts["text_encoder"], captions)

        any_step = self.rng.integers(0, 1000, count)
        t = torch.from_numpy(np.where(self.rng.random(count) < c.last_timestep, 999, any_step)).to(self.device)
        noise = torch.randn_like(z_x)
        noisy = self.scheduler.add_noise(z_x, noise, t)
        target = self.scheduler.get_velocity(z_x, noise, t)
        v = self.mdic.velocity(noisy, t, condition, z_text).float()
        alpha = self.scheduler.alphas_cumprod.to(self.device)[t].view(-1, 1, 1, 1)
        x0 = alpha.sqrt() * noisy - (1 - alpha).sqrt() * v
        picture = self.mdic.pixels(x0, condition, side).float()

        l2, l1 = F.mse_loss(picture, x), F.l1_loss(picture, x)
        velocity = F.mse_loss(v, target)
        tokens = sum(i[0].numel() for i in indices)
        rate = parts["entropy_model"].loss([i[: count // 2] for i in indices]) / tokens
        masked = mask_nouns(self.tokenizer, batch.captions, batch.tags).to(self.device)
        size = condition.z_y.shape[-2:]
        mask = F.interpolate(condition.mask, size=size, mode="bilinear", align_corners=False)
        logits = self.predictor(masked.token_ids, mask * condition.z_y, masked.attention_mask)
        nouns, accuracy = noun_loss(logits, masked.labels)

        loss = (
            c.pixel_weight * (l2 + c.l1_weight * l1)
            + c.velocity_weight * velocity
            + c.commitment_weight * (commitment + side.commitment)
            + c.rate_weight * rate
            + c.mask_weight * nouns
        )
        return loss, {
            "psnr": psnr(l2),
            "velocity": velocity.item(),
            "commitment": commitment.item(),
            "rate": rate.item(),
            "nouns": nouns.item(),
            "noun_accuracy": float(accuracy),
            "mask": (condition.mask.sum() / present.sum().clamp(min=1) / condition.mask[0].numel()).item(),
            "used": float(np.mean([i.unique().numel() / min(i.numel(), c.codebook_size) for i in indices])),
        }

    def reconstruct(self, x: Tensor, side: Side, captions: list[str], scale: int, steps: int = 1) -> Tensor:
        """Codes and decodes at a rate point, without the bytes: x (B, 3, H, W) to a picture of that shape."""
        parts = self.parts
        indices = parts["quantizer"](parts["hyper_align"](encode_latent(self.vae, x)))[1]
        x_hat = parts["quantizer"].dequantize(indices[: scale + 1], (x.shape[-2] // 16, x.shape[-1] // 16))
        condition = self.mdic.condition(x_hat, side)
        z_text = encode_text(self.tokenizer, parts["text_encoder"], captions)
        noise = torch.randn(side.z_y.shape, generator=torch.Generator().manual_seed(0)).to(self.device)
        z = self.mdic.denoise(noise, condition, z_text, steps)
        return self.mdic.pixels(z, condition, side).float().clamp(-1, 1)

    def validate(self) -> dict[str, float]:
        x, y = self.held_out.x.to(self.device), self.held_out.y.to(self.device)
        captions = self.held_out.captions
        indices = self.parts["quantizer"](self.parts["hyper_align"](encode_latent(self.vae, x)))[1]
        bits = self.parts["entropy_model"].bits(indices).float().mean(0).cumsum(0)
        with_side, without = self.mdic.side(y), self.mdic.no_side((x.shape[-2], x.shape[-1]), x.shape[0])
        foreign = self.mdic.side(y.roll(3, 0))
        figures: dict[str, float] = {}
        for scale in range(len(bits)):
            figures[f"bytes{scale}"] = bits[scale].item() / 8
            figures[f"psnr{scale}"] = psnr(F.mse_loss(self.reconstruct(x, with_side, captions, scale), x))
        none = [""] * len(captions)
        figures["none2"] = psnr(F.mse_loss(self.reconstruct(x, without, none, 2), x))
        figures["none4"] = psnr(F.mse_loss(self.reconstruct(x, without, none, len(bits) - 1), x))
        figures["foreign2"] = psnr(F.mse_loss(self.reconstruct(x, foreign, captions, 2), x))
        figures["steps4"] = psnr(F.mse_loss(self.reconstruct(x, with_side, captions, 2, steps=4), x))
        return figures

    def save(self, bundle: Path) -> None:
        self.vae.save_pretrained(bundle / "vae")
        for name, part in self.parts.items():
            part.save_pretrained(bundle / name)
        self.scheduler.save_pretrained(bundle / "scheduler")
        self.tokenizer.save_pretrained(bundle / "tokenizer")
