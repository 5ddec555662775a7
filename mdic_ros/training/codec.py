"""Stage 2: codec and decoder together (paper, section 3.5).

One loss trains HyperAlign, the codebooks, the prior, the alignment, the mask, the fusion, the text encoder and the
denoiser: v-prediction + commitment + rate + text-supervised mask, and a pixel loss through the LDM decoder on the
predicted clean picture, which also trains that decoder and the refiner. Not in the paper: the gradient of the rate
reaches the encoder through soft assignments, and the offsets of a stereo matcher supervise the alignment and the mask.
"""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from mdic_ros.codec.bitstream import MULTIPLE, feature_grid
from mdic_ros.models.autoencoder import encode_latent
from mdic_ros.models.detail_refiner import DetailRefiner
from mdic_ros.models.entropy.model import EntropyModel
from mdic_ros.models.hyper_align import HyperAlign
from mdic_ros.models.mask_generator import MaskGenerator
from mdic_ros.models.mdic import MDIC, Condition, Side
from mdic_ros.models.quantizer import MultiScaleQuantizer
from mdic_ros.models.side_alignment import Match, SideAlignment
from mdic_ros.models.side_fusion import SideFusion
from mdic_ros.models.text import IGNORE, NounPredictor, encode_text, mask_nouns, noun_loss
from mdic_ros.training.autoencoder import psnr
from mdic_ros.training.bundling import write_component
from mdic_ros.training.config import ConfigError, Options, Share, builds
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


#: The grids that `prior` is tried with; the whole is tried with its own.
_EXAMPLE_GRIDS: dict[str, Any] = {"codebook_size": 1024, "grids": (0.5, 1.0), "groups": (1, 2)}


_Channels = Annotated[int, Field(gt=0, multiple_of=8)]


class SampleConfig(Options):
    """How samples are drawn, and the weights of their pixel and offset losses: for this stage and for `realism`."""

    multiple: ClassVar[int] = MULTIPLE  #: of pixels, that the sides of the crops must be
    rate_share: tuple[Share, ...] = (0.08, 0.1, 0.24, 0.12, 0.46)  #: share of samples at each rate point
    no_side: Share = 0.08  #: share of samples without side image
    foreign_side: Share = 0.08  #: share with the side image of another scene, half of these at the coarsest rate point
    stale: Share = 0.1  #: share with a side image that is one to ten frames older, of either camera
    unrectified: Share = 0.08  #: share with a side image that is up to four pixels higher or lower
    joined: Share = 0.4  #: share of pairs whose right part is another pair's
    no_text: Share = 0.05  #: share without caption
    pixel_weight: NonNegativeFloat = 10.0  #: squared error
    offset_weight: NonNegativeFloat = 0.05  #: per pixel of error of an offset, at all resolutions

    @model_validator(mode="after")
    def _check_sums(self) -> Self:
        if not math.isclose(sum(self.rate_share), 1, abs_tol=1e-8):
            raise ValueError(f"rate_share is {list(self.rate_share)}, it must be shares that sum to 1")
        if self.no_side + self.foreign_side > 1:
            raise ValueError(f"no_side and foreign_side are {self.no_side} and {self.foreign_side}, more than 1 in sum")
        return self


class CodecConfig(SampleConfig):
    """Stage options, under `codec:` in the YAML."""

    features: _Channels = 192  #: M
    channels: _Channels = 128  #: N
    codebook_size: PositiveInt = 1024  #: K
    #: token grids from coarse to fine, as parts of the feature grid
    grids: tuple[Literal["1/4", "1/2", "3/4", "1"], ...] = ("1/4", "1/2", "3/4", "1", "1")
    groups: tuple[PositiveInt, ...] = (1, 2, 2, 2, 2)  #: coding schedule: groups of tokens per grid
    condition: PositiveInt = 48
    #: all arguments of diffusers' UNet2DConditionModel but in_channels
    unet: Annotated[dict[str, Any], builds(UNet2DConditionModel, in_channels=64)] = SMALL_UNET
    #: further arguments of the detail refiner
    refiner: Annotated[dict[str, Any], builds(DetailRefiner, features=192)] = Field(default_factory=dict)
    #: further arguments of the entropy model
    prior: Annotated[dict[str, Any], builds(EntropyModel, **_EXAMPLE_GRIDS)] = Field(default_factory=dict)
    last_timestep: Share = 0.88  #: share of samples at the first step of the sampler
    velocity_weight: NonNegativeFloat = 0.1  #: squared error of the v-prediction
    l1_weight: NonNegativeFloat = 0.05  #: of the absolute error, relative to `pixel_weight`
    commitment_weight: NonNegativeFloat = 0.1
    rate_weight: NonNegativeFloat = 0.02  #: per bit and token, for the prior
    soft_rate_weight: NonNegativeFloat = 0.006  #: per bit and token, for the encoder
    match_weight: NonNegativeFloat = 0.05  #: cross-entropy, nats, of the alignment's attention
    shared_weight: NonNegativeFloat = 0.05  #: cross-entropy of the mask
    mask_weight: NonNegativeFloat = 0.1  #: lambda_mask of the paper

    @model_validator(mode="after")
    def _check_grids(self) -> Self:
        for name in ("groups", "rate_share"):
            if len(getattr(self, name)) != len(self.grids):
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} entries, it must have one per grid: {len(self.grids)}"
                )
        return self

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        latent = self.unet.get("out_channels", 8)
        try:
            with torch.device("meta"):  # without memory for the weights
                build(self, latent, vocabulary=512)
        except Exception as error:  # of whatever kind the networks' constructors meet with such sizes
            raise ValueError(
                "the networks cannot be built with these features, channels, codebook_size, grids, groups, condition, "
                f"unet, refiner and prior: {error or type(error).__name__}"
            ) from error
        return self


#: The components that the stage trains, by their names in the bundle.
PARTS: dict[str, type[Any]] = {
    "hyper_align": HyperAlign,
    "hyper_align_side": HyperAlign,
    "quantizer": MultiScaleQuantizer,
    "entropy_model": EntropyModel,
    "mask_generator": MaskGenerator,
    "side_alignment": SideAlignment,
    "side_fusion": SideFusion,
    "unet": UNet2DConditionModel,
    "detail_refiner": DetailRefiner,
    "text_encoder": CLIPTextModel,
}


def build(config: CodecConfig, latent: int, vocabulary: int) -> dict[str, Any]:
    """Components of a small model around an autoencoder, with fresh weights.

    Args:
        config: sizes.
        latent: channels of the autoencoder's latents.
        vocabulary: tokens of the tokenizer.

    Raises:
        ConfigError: the denoiser is for latents of other channels.
    """
    unet = UNet2DConditionModel(in_channels=2 * latent + config.condition, **{"out_channels": latent, **config.unet})
    if unet.config.out_channels != latent:
        raise ConfigError(
            f"codec: unet.out_channels is {unet.config.out_channels}, it must be {latent} as latent_channels of the vae"
        )
    width = unet.config.cross_attention_dim
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
        "unet": unet,
        "detail_refiner": DetailRefiner(config.features, **config.refiner),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=width,
                intermediate_size=4 * width,
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


def match_loss(match: Match, flow: Tensor, stride: int) -> Tensor:
    """Cross-entropy of an alignment's attention against the true place, mean over the positions where it is known.

    Args:
        match: on a grid of `stride` pixels, made in training mode.
        flow: (B, 2, H, W) pixels, NaN where unknown.
        stride: pixels per position.

    Returns:
        Scalar, nats.

    Raises:
        ValueError: the match has no probabilities: it was not made in training mode.
    """
    if match.probability is None:
        raise ValueError("the alignment keeps its attention in training mode only: call train() first")
    w, n = match.probability.shape[2:4]
    # The flow of a position is that of a pixel near its middle: a mean would lie between foreground and background.
    at = flow[:, :, stride // 2 :: stride, stride // 2 :: stride] / stride
    x = torch.arange(w, device=flow.device) + at[:, 0]
    y = n // 2 + at[:, 1]
    known = (x > -0.5) & (x < w - 0.5) & (y > -0.5) & (y < n - 0.5)  # false for NaN
    x, y = (torch.where(known, t, 0).clamp(0, most) for t, most in ((x, w - 1), (y, n - 1)))
    flat = match.probability.float().flatten(3)
    found = torch.zeros_like(x)
    for dy in (0, 1):
        for dx in (0, 1):
            column, row = (x.floor() + dx).clamp(max=w - 1), (y.floor() + dy).clamp(max=n - 1)
            weight = (1 - (x - x.floor() - dx).abs()) * (1 - (y - y.floor() - dy).abs())
            found = found + weight * flat.gather(3, (row * w + column).long().unsqueeze(-1))[..., 0]
    return (-torch.log(found + 1e-3) * known).sum() / known.sum().clamp(min=1)


def offset_loss(match: Match, flow: Tensor, stride: int) -> Tensor:
    """Mean absolute error of offsets against the flow, in pixels, x plus y, each capped at 8 because of outliers."""
    at = flow[:, :, stride // 2 :: stride, stride // 2 :: stride]
    known = ~torch.isnan(at[:, :1])
    distance = (stride * match.offset.float() - torch.where(known, at, 0)).abs().clamp(max=8)
    return (distance * known).sum() / known.sum().clamp(min=1)


def alignment_losses(matches: list[Match], flow: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """`match_loss` of the matches that have probabilities, and `offset_loss` of the others, each in their order.

    Raises:
        ValueError: none has probabilities: they were not made in training mode.
    """
    looked, offsets = [], []
    for match in matches:
        stride = flow.shape[-1] // match.offset.shape[-1]
        if match.probability is None:
            offsets.append(offset_loss(match, flow, stride))
        else:
            looked.append(match_loss(match, flow, stride))
    if not looked:
        raise ValueError("the alignment keeps its attention in training mode only: call train() first")
    return looked, offsets


def shared_loss(mask: Tensor, flow: Tensor, foreign: Tensor) -> Tensor:
    """Cross-entropy of the mask: 1 where the matcher found the point in the side view, 0 for a foreign side image."""
    known = F.adaptive_max_pool2d((~torch.isnan(flow[:, :1])).float(), mask.shape[-2:]) > 0
    mask = mask.float().clamp(1e-4, 1 - 1e-4)
    shut = foreign.expand_as(known)
    nats = -(known * torch.log(mask) + shut * torch.log1p(-mask))
    return nats.sum() / (known | shut).sum().clamp(min=1)


def psnr_weighted_mse(picture: Tensor, original: Tensor) -> Tensor:
    """Mean squared error whose gradient is that of the mean PSNR: each picture's error relative to its own size.

    With the plain error, the few samples without a side image, whose errors are four times as large, would make up
    nearly half of the gradient.

    Args:
        picture, original: (B, 3, H, W) in [-1, 1].

    Returns:
        Scalar.
    """
    error = (picture - original).square().flatten(1).mean(1)
    known = error.detach()
    return (error * known.mean() / known.clamp(min=1e-3)).mean()


class CodecStage:
    """The paper's joint training, with side dropout and random rate points; the LDM decoder learns along.

    Args:
        config: options of the stage.
        vae: autoencoder of the bundle; its encoder stays as it is.
        parts: the other components, see `PARTS`.
        tokenizer: tokenizer of the bundle.
        held_out: pairs to validate on.
        foreign: as many pairs of other drives, to validate that their side images do no harm.
        device: where to train.
        seed: of the stage's own random numbers.

    Raises:
        ConfigError: the options are for another number of rate points than the quantizer has.
    """

    def __init__(
        self,
        config: SampleConfig,
        vae: AutoencoderKL,
        parts: dict[str, Any],
        tokenizer: Any,
        held_out: Batch,
        foreign: Batch,
        device: torch.device,
        seed: int = 0,
    ) -> None:
        points = len(parts["quantizer"].quantizers)
        if len(config.rate_share) != points:
            raise ConfigError(
                f"rate_share has {len(config.rate_share)} entries, but the bundle has {points} rate points"
            )
        self.config: Any = config  # of the stage's own kind
        self.tokenizer, self.device = tokenizer, device
        self.held_out, self.foreign = held_out, foreign
        self.rng = np.random.default_rng(seed)
        self.vae = vae.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
        self.scheduler = DDIMScheduler(**SCHEDULER)
        self.parts = parts
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
        # The latent stays as it is, so the encoder is frozen. The decoder learns to render the denoiser's output, which
        # is not the latent of a real picture: frozen, it would be the bottleneck of the whole codec.
        self.vae.decoder.requires_grad_(True)
        self.vae.post_quant_conv.requires_grad_(True)
        network = nn.ModuleDict(self.networks())
        self.network: nn.Module = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def networks(self) -> dict[str, nn.Module]:
        """Networks that a checkpoint keeps, by name."""
        return {
            **self.parts,
            "noun_predictor": self.predictor,
            "vae_decoder": self.vae.decoder,
            "vae_post_quant_conv": self.vae.post_quant_conv,
        }

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of all losses of a batch, and figures of it: PSNR in dB, nats, bits, pixels, shares."""
        c: CodecConfig = self.config
        parts = self.parts
        x = batch.x.to(self.device)
        count = x.shape[0]
        with torch.no_grad():
            z_x = encode_latent(self.vae, x).float()
        partial, indices, commitment, soft = parts["quantizer"](parts["hyper_align"](z_x), soft=True)
        side, condition, z_text, flow, foreign = self.workstation(batch, partial)

        any_step = self.rng.integers(0, 1000, count)
        t = torch.from_numpy(np.where(self.rng.random(count) < c.last_timestep, 999, any_step)).to(self.device)
        noise = torch.randn_like(z_x)
        noisy = self.scheduler.add_noise(z_x, noise, t)
        target = self.scheduler.get_velocity(z_x, noise, t)
        v = self.mdic.velocity(noisy, t, condition, z_text).float()
        alpha = self.scheduler.alphas_cumprod.to(self.device)[t].view(-1, 1, 1, 1)
        x0 = alpha.sqrt() * noisy - (1 - alpha).sqrt() * v
        picture, fine = self.mdic.pixels(x0, condition, side, torch.zeros_like(side.present))
        picture = picture.float()

        l2, l1 = F.mse_loss(picture, x), F.l1_loss(picture, x)
        velocity = F.mse_loss(v, target)
        tokens, codes = sum(i[0].numel() for i in indices), parts["quantizer"].config.codebook_size
        half = (count + 1) // 2  # the prior takes much of a step's time, and it has a stage of its own
        rate, soft_rate = self.rates([i[:half] for i in indices], [a[:half] for a in soft])
        rate, soft_rate = rate / tokens, soft_rate / tokens
        looked, offsets = alignment_losses([*condition.matches, *fine], flow)
        shared = shared_loss(condition.mask, flow, foreign)
        masked = mask_nouns(self.tokenizer, batch.captions, batch.tags).to(self.device)
        # Nouns are predicted only where the side image shows what they name.
        labels = masked.labels.masked_fill((foreign | (side.present == 0)).flatten(1), IGNORE)
        size = condition.z_y.shape[-2:]
        mask = F.interpolate(condition.mask, size=size, mode="bilinear", align_corners=False)
        logits = self.predictor(masked.token_ids, mask * condition.z_y, masked.attention_mask)
        nouns, accuracy = noun_loss(logits, labels)

        loss = (
            c.pixel_weight * (psnr_weighted_mse(picture, x) + c.l1_weight * l1)
            + c.velocity_weight * velocity
            + c.commitment_weight * (commitment + side.commitment)
            + c.rate_weight * rate
            + c.soft_rate_weight * soft_rate
            + c.match_weight * torch.stack(looked).sum()
            + c.offset_weight * torch.stack(offsets).sum()
            + c.shared_weight * shared
            + c.mask_weight * nouns
        )
        return loss, {
            "psnr": psnr(l2),
            "velocity": velocity.detach(),
            "commitment": commitment.detach(),
            "rate": rate.detach(),
            "match": looked[-1].detach(),
            "offset8": offsets[0].detach(),
            "offset": offsets[-1].detach(),
            "shared": shared.detach(),
            "nouns": nouns.detach(),
            "noun_accuracy": accuracy,
            "mask": condition.mask.detach().sum() / side.present.sum().clamp(min=1) / condition.mask[0].numel(),
            "used": torch.stack([_share_used(i, codes) for i in indices]).mean(),
        }

    def workstation(self, batch: Batch, partial: list[Tensor]) -> tuple[Side, Condition, Tensor, Tensor, Tensor]:
        """Conditions for the denoiser, with rate point, side image and caption of each sample drawn at random.

        Args:
            batch: B samples.
            partial: x^ of every rate point, (B, M, h, w) each.

        Returns:
            Side images; the condition; z_text (B, L, D); the flow to the side images, NaN where there is none; and
            whether the side image is of another scene, (B, 1, 1, 1) bool.
        """
        c, y, flow = self.config, batch.y.to(self.device), batch.flow.to(self.device)
        count = y.shape[0]
        draw = self.rng.random(count)
        present = torch.from_numpy((draw >= c.no_side).astype(np.float32)).to(self.device).view(-1, 1, 1, 1)
        strangers = np.array(batch.strangers())
        other = (draw > 1 - c.foreign_side) & (strangers != np.arange(count))
        sources = np.where(other, strangers, np.arange(count))
        foreign = torch.from_numpy(other).to(self.device).view(-1, 1, 1, 1)
        # With fewer bytes it is harder to recognise a side image of another scene.
        points = self.rng.choice(len(partial), count, p=c.rate_share)
        points = np.where(other & (self.rng.random(count) < 0.5), 0, points)
        x_hat = torch.stack(partial)[torch.from_numpy(points).to(self.device), torch.arange(count, device=self.device)]
        side = self.mdic.side(y[torch.from_numpy(sources).to(self.device)], present)
        flow = torch.where((present > 0) & ~foreign, flow, torch.nan)
        # As in the decoder, the caption is that of the side image: none without it.
        told = (self.rng.random(count) >= c.no_text) & (draw >= c.no_side)
        captions = [batch.captions[n] if t else "" for n, t in zip(sources, told, strict=True)]
        z_text = encode_text(self.tokenizer, self.parts["text_encoder"], captions)
        return side, self.mdic.condition(x_hat, side), z_text, flow, foreign

    def rates(self, indices: list[Tensor], soft: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Mean bits per image: of the indices, to train the prior; and of soft assignments, to train the encoder.

        As in RDVQ (2026): the bits of a code come from the prior without a gradient, so the second figure's gradient
        goes to the assignments alone.
        """
        log_probs = self.parts["entropy_model"].log_probs(indices)
        hard = torch.stack(
            [-p.gather(-1, i.unsqueeze(-1)).sum() for p, i in zip(log_probs, indices, strict=True)]
        ).sum()
        expected = torch.stack([-(p.detach() * a).sum() for p, a in zip(log_probs, soft, strict=True)]).sum()
        bits = len(indices[0]) * math.log(2)
        return hard / bits, expected / bits

    def reconstruct(self, x: Tensor, side: Side, captions: list[str], scale: int, steps: int = 1) -> Tensor:
        """Codes and decodes at a rate point, without entropy coding: x (B, 3, H, W) to pictures of that shape."""
        parts = self.parts
        indices = parts["quantizer"](parts["hyper_align"](encode_latent(self.vae, x)))[1]
        z_text = encode_text(self.tokenizer, parts["text_encoder"], captions)
        grid = feature_grid(x.shape[-2], x.shape[-1])
        picture, _ = self.mdic.reconstruct(indices[: scale + 1], grid, [side], z_text, steps=steps)
        return picture.float().clamp(-1, 1)

    def validate(self) -> dict[str, float]:
        """Bytes of an image, and PSNR in dB, at every rate point K: `bytesK` and `psnrK`.

        Also PSNR without side image (`noneK`), with that of another drive (`foreignK`), and in four steps (`steps4`).
        """
        x, y = self.held_out.x.to(self.device), self.held_out.y.to(self.device)
        captions = self.held_out.captions
        indices = self.parts["quantizer"](self.parts["hyper_align"](encode_latent(self.vae, x)))[1]
        bits = self.parts["entropy_model"].bits(indices).float().mean(0).cumsum(0)
        with_side, without = self.mdic.side(y), self.mdic.no_side((x.shape[-2], x.shape[-1]), x.shape[0])
        foreign, other = self.mdic.side(self.foreign.y.to(self.device)), self.foreign.captions

        def quality(side: Side, captions: list[str], scale: int, steps: int = 1) -> float:
            return psnr(F.mse_loss(self.reconstruct(x, side, captions, scale, steps), x)).item()

        figures: dict[str, float] = {}
        for scale in range(len(bits)):
            figures[f"bytes{scale}"] = bits[scale].item() / 8
            figures[f"psnr{scale}"] = quality(with_side, captions, scale)
        none = [""] * len(captions)
        figures["none2"] = quality(without, none, 2)
        figures["none4"] = quality(without, none, len(bits) - 1)
        figures["foreign0"] = quality(foreign, other, 0)
        figures["none0"] = quality(without, none, 0)
        figures["foreign2"] = quality(foreign, other, 2)
        figures["steps4"] = quality(with_side, captions, 2, 4)
        return figures

    def pictures(self) -> dict[str, Tensor]:
        """Held-out originals, side images and pictures at every rate point, (B, 3, H, W) in [-1, 1]."""
        x, y = self.held_out.x[:4].to(self.device), self.held_out.y[:4].to(self.device)
        side, captions = self.mdic.side(y), self.held_out.captions[:4]
        points = range(len(self.parts["quantizer"].quantizers))
        decoded = {f"point {point}": self.reconstruct(x, side, captions, point) for point in points}
        sharp = self.reconstruct(x, side, captions, points[-1], steps=4)
        return {"original": x, "side image": y, **decoded, "4 steps": sharp}

    def save(self, bundle: Path) -> None:
        """Writes everything but the captioner: folders of the bundle, in the precision of training."""
        written = {"vae": self.vae, **self.parts, "scheduler": self.scheduler, "tokenizer": self.tokenizer}
        for name, part in written.items():
            write_component(part, bundle / name)


def _share_used(indices: Tensor, codes: int) -> Tensor:
    """Number of codes that occur over the number that could, scalar; computed without waiting for the device."""
    seen = torch.zeros(codes, device=indices.device)
    seen[indices.flatten()] = 1
    return seen.sum() / min(indices.numel(), codes)
