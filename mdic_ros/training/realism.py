"""Stage after the codec: pictures that look real at two and more steps.

The stage trains the components that draw the picture: denoiser, LDM decoder and refiner. Tokens, alignment and mask
stay as they are. Half of each batch is decoded in one step and trained for the squared error. The other half takes a
later step of the sampler from the result of the first, as the decoder does, and there the loss also compares texture:
from noise, the denoiser can add detail that the packet does not carry, and the refiner, with `sharp` set, uses the side
image's pixels where the squared error would prefer a mean of them and the picture.

Texture is compared by a sliced Wasserstein distance (Heitz et al., 2021, arXiv 2006.07229) of the responses of random
7x7 filters, within blocks of 32x32 pixels, so that a smooth sky stays smooth and foliage gets leaves. It needs no
pretrained network, and training is stable, unlike that of an adversary. If the weights of VGG16 are there, LPIPS can be
added.

Two more losses limit invented detail. *Consistency*: the features of the picture stay those that were coded. *Grid*:
errors that repeat with the blocks of 4x4 pixels that the last layers draw, which are visible long before they matter
for the squared error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, model_validator
from torch import Tensor, nn

from mdic_ros.backbones import FILES, Lpips, Missing, WeightsError, locate, vgg16
from mdic_ros.models.autoencoder import encode_latent
from mdic_ros.models.mdic import Condition
from mdic_ros.training.autoencoder import psnr
from mdic_ros.training.codec import CodecStage, SampleConfig, offset_loss, psnr_weighted_mse
from mdic_ros.training.data import Batch

BLOCK, FILTER, PERIOD = 32, 7, 4
#: Steps of the sampler after the first, at two and at four steps: what the second pass is trained on.
LATER = (749, 499, 249)


def texture_distance(picture: Tensor, original: Tensor, filters: int = 12) -> Tensor:
    """Sliced Wasserstein distance of local texture, at two resolutions.

    Args:
        picture, original: (B, 3, H, W) in [-1, 1], H and W multiples of 64.
        filters: number of random filters, drawn anew at every call.

    Returns:
        Scalar: mean absolute difference of the sorted responses of zero-mean filters of unit norm.
    """
    kernel = torch.randn(filters, 3, FILTER, FILTER, device=picture.device)
    kernel = kernel - kernel.mean(dim=(2, 3), keepdim=True)  # texture only, not brightness
    kernel = kernel / kernel.flatten(1).norm(dim=1)[:, None, None, None]

    def answers(image: Tensor) -> Tensor:
        maps = F.conv2d(image, kernel, padding=FILTER // 2)
        return maps.unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK).flatten(4).sort(-1).values

    total = picture.new_zeros(())
    for _ in range(2):
        total = total + (answers(picture) - answers(original)).abs().mean()
        picture, original = F.avg_pool2d(picture, 2), F.avg_pool2d(original, 2)
    return total


def grid_distance(picture: Tensor, original: Tensor) -> Tensor:
    """How strongly the error repeats with the blocks of pixels that the last layers draw.

    Args:
        picture, original: (B, 3, H, W), H and W multiples of 32.

    Returns:
        Scalar: variance of the mean errors of the 16 places in a block of 4x4 pixels, within blocks of 32x32, relative
        to its expectation for independent errors; 1 = no grid.
    """
    error = picture - original
    places = F.avg_pool2d(F.pixel_unshuffle(error, PERIOD), BLOCK // PERIOD).unflatten(1, (3, PERIOD**2))
    systematic = places.var(2, unbiased=False)
    spread = F.avg_pool2d(error.detach().square(), BLOCK) - F.avg_pool2d(error.detach(), BLOCK).square()
    return (systematic / (spread.clamp(min=0) * (PERIOD / BLOCK) ** 2 + 1e-6)).mean()


#: The components that are trained here, beside the LDM decoder. Packets stay as they are.
DRAWING = ("unet", "detail_refiner")


class RealismConfig(SampleConfig):
    """Stage options, under `realism:`."""

    texture_weight: NonNegativeFloat = 5.0
    sharp_pixel_weight: NonNegativeFloat = 5.0  #: of the squared error after later steps
    consistency_weight: NonNegativeFloat = 0.1  #: of the squared distance to the coded features, by their variance
    grid_weight: NonNegativeFloat = 0.02  #: of `grid_distance`, after later steps
    weights: str = ""  #: folder that holds VGG16, for LPIPS; from where the command runs
    perceptual_weight: NonNegativeFloat = 0.5  #: of LPIPS after later steps, if there are `weights`

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.weights:
            try:
                locate(Path(self.weights), FILES["vgg16"])
            except (Missing, WeightsError) as error:
                raise ValueError(f"weights is {self.weights}: {error}") from error
        return self


class RealismStage(CodecStage):
    """Loss of the stage; components and saving are the codec's."""

    def __init__(self, config: RealismConfig, *args: Any, **options: Any) -> None:
        super().__init__(config, *args, **options)
        for name, part in self.parts.items():
            part.requires_grad_(name in DRAWING)
        self.perceptual: Lpips | None = None
        if config.weights:
            self.perceptual = Lpips(vgg16(locate(Path(config.weights), FILES["vgg16"])), "vgg").to(self.device)

    def networks(self) -> dict[str, nn.Module]:
        """Networks that a checkpoint keeps, by name; this stage has no noun predictor."""
        return {name: part for name, part in super().networks().items() if name != "noun_predictor"}

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of all losses of a batch of two or more, and figures of it."""
        c: RealismConfig = self.config
        x = batch.x.to(self.device)
        half = x.shape[0] // 2
        for name, part in self.parts.items():
            part.train(name in DRAWING)  # in evaluation mode the mask has no noise
        with torch.no_grad():
            features = self.parts["hyper_align"](encode_latent(self.vae, x))
            partial = self.parts["quantizer"](features, learn=False)[0]
            side, condition, z_text, flow, _ = self.workstation(batch, partial)
        noise = torch.randn_like(side.z_y)
        first = torch.full((x.shape[0],), 999, device=self.device)
        # The first step starts from pure noise, where v is the negative of the clean latent.
        z = -self.mdic.velocity(noise, first, condition, z_text).float()

        later = torch.from_numpy(self.rng.choice(LATER, x.shape[0] - half)).to(self.device)
        noisy = self.scheduler.add_noise(z[half:].detach(), noise[half:], later)
        v = self.mdic.velocity(noisy, later, _rows(condition, half), z_text[half:]).float()
        alpha = self.scheduler.alphas_cumprod.to(self.device)[later].view(-1, 1, 1, 1)
        detailed = alpha.sqrt() * noisy - (1 - alpha).sqrt() * v
        sharp = (torch.arange(x.shape[0], device=self.device) >= half).float().view(-1, 1, 1, 1)
        picture, fine = self.mdic.pixels(torch.cat([z[:half], detailed]), condition, side, sharp)
        picture = picture.float()

        l2, sharp_l2 = F.mse_loss(picture[:half], x[:half]), F.mse_loss(picture[half:], x[half:])
        texture = texture_distance(picture[half:], x[half:])
        seen = self.parts["hyper_align"](encode_latent(self.vae, picture[half:]))
        consistency = F.mse_loss(seen.float(), features[half:].float()) / features.float().var().clamp(min=1e-6)
        grid = grid_distance(picture[half:], x[half:])
        offsets = [offset_loss(match, flow, flow.shape[-1] // match.offset.shape[-1]) for match in fine]
        loss = (
            c.pixel_weight * psnr_weighted_mse(picture[:half], x[:half])
            + c.sharp_pixel_weight * sharp_l2
            + c.texture_weight * texture
            + c.consistency_weight * consistency
            + c.grid_weight * grid
            + c.offset_weight * torch.stack(offsets).sum()
        )
        figures = {}
        if self.perceptual is not None:
            lpips = self.perceptual(picture[half:], x[half:]).mean()
            loss = loss + c.perceptual_weight * lpips
            figures["lpips"] = lpips.detach()
        return loss, {
            **figures,
            "psnr": psnr(l2),
            "sharp_psnr": psnr(sharp_l2),
            "texture": texture.detach(),
            "consistency": consistency.detach(),
            "grid": grid.detach(),
            "offset": offsets[-1].detach(),
        }

    def validate(self) -> dict[str, float]:
        figures = super().validate()
        x, y = self.held_out.x.to(self.device), self.held_out.y.to(self.device)
        side = self.mdic.side(y)
        for steps in (1, 2, 4):
            picture = self.reconstruct(x, side, self.held_out.captions, 2, steps)
            figures[f"energy{steps}"] = (_energy(picture) / _energy(x)).item()
        return figures


def _rows(condition: Condition, start: int) -> Condition:
    """The samples of a condition from `start` on, without the matches, which the denoiser does not need."""
    return Condition(condition.x_c[start:], condition.latent[start:], condition.z_y[start:], condition.mask[start:], [])


def _energy(image: Tensor) -> Tensor:
    """Mean squared difference of horizontal and vertical neighbours."""
    return image.diff(dim=2).square().mean() + image.diff(dim=3).square().mean()
