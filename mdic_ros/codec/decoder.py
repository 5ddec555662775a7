"""The workstation's half: bytes and side image -> picture."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from mdic_ros.codec.bitstream import BitstreamInfo, split
from mdic_ros.codec.bundle import WORKSTATION, Bundle
from mdic_ros.codec.clock import Clock
from mdic_ros.codec.entropy_coding import EntropyCoder
from mdic_ros.codec.components import load
from mdic_ros.codec.images import Image, check_image
from mdic_ros.models.autoencoder import encode_latent
from mdic_ros.models.mdic import ABLATIONS, MDIC, MULTIPLE, pad_to_multiple, sharpness
from mdic_ros.models.row_offset import RowOffset, measure, shifted
from mdic_ros.models.text import encode_text, mirrored_caption

MAX_ROWS = 64  #: a row offset beyond is no rig that is not quite rectified


@dataclass(frozen=True)
class Reconstruction:
    """What comes out of a bitstream."""

    image: Image  #: H x W x 3 uint8 RGB, the coded size
    mask: npt.NDArray[np.uint8]  #: H x W uint8: 255 = shared with the side image, 0 = not, or no side image
    caption: str  #: the text that conditioned the denoiser
    timings: dict[str, float]  #: milliseconds: entropy, caption, side, denoise, pixels, total
    rate_point: int  #: what was decoded, 0 = coarsest
    cut: bool  #: the packet was cut on its way: `rate_point` is coarser than what was sent


class Decoder:
    """Decodes bitstreams with the workstation's half of a bundle.

    >>> decoder = Decoder.from_pretrained()
    >>> picture = decoder.decode(data, side=right_image).image
    """

    def __init__(self, bundle: Bundle, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.model_id, self.fingerprint = bundle.model_id, bundle.fingerprint
        self._identity = bytes.fromhex(bundle.fingerprint)
        self._guidance = bundle.guidance
        parts = {name: load(bundle, name, device) for name in WORKSTATION}
        self._coder = EntropyCoder(parts.pop("entropy_model"), self._identity)
        self.rate_points: int = self._coder.prior.scales
        self._tokenizer, self._text_encoder = parts.pop("tokenizer"), parts.pop("text_encoder")
        self._captioner = parts.pop("captioner")
        self._hyper_align = parts.pop("hyper_align").to(memory_format=torch.channels_last)
        self._mdic = MDIC(**parts).to(self.device).eval()
        self._mdic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._text: dict[str, Tensor] = {}

    @classmethod
    def from_pretrained(cls, path: str | PathLike[str] | None = None, device: str | torch.device = "cpu") -> Decoder:
        """Loads the workstation's half of a bundle folder; None = the shipped one.

        Raises:
            BundleError: the folder is no whole, undamaged bundle.
        """
        return cls(Bundle(path), device)

    def caption(self, side: Image) -> str:
        """Describes a side image, H x W x 3 uint8 RGB; slower than a decode, so callers keep it for some frames."""
        return self._captioner.caption(side)

    def forget_texts(self) -> None:
        """Drops the encoded captions that are kept, so that the next decode encodes its own again."""
        self._text.clear()

    def ablate(self, *blocks: str) -> None:
        """Leaves out blocks from now on, to see what they are worth; none = the whole model again.

        Args:
            blocks: of `mdic_ros.models.mdic.ABLATIONS`.

        Raises:
            ValueError: there is no such block.
        """
        if unknown := set(blocks) - set(ABLATIONS):
            raise ValueError(f"cannot leave out {', '.join(sorted(unknown))}: only {', '.join(ABLATIONS)}")
        self._mdic.without = frozenset(blocks)

    @torch.inference_mode()
    def decode(
        self,
        data: bytes,
        side: Image | None = None,
        *,
        caption: str | None = None,
        steps: int = 1,
        seed: int = 0,
        row_offset: float = 0.0,
    ) -> Reconstruction:
        """Decodes a bitstream.

        The same bytes, side image, caption, seed and steps give the same picture on one machine.

        Args:
            data: a bitstream of this bundle, whole or cut.
            side: the other camera's image, H x W x 3 uint8 RGB of the coded size; None = decode without it. Which
                camera that is the bitstream says.
            caption: text for the denoiser; None = the captioner's words for the side image ("" without one).
            steps: denoising steps, 1 to 1000: 1 is closest to the original, but soft; 2 and more are sharp.
            seed: of the noise that the denoiser starts from.
            row_offset: how many rows lower than in a rectified pair the side image is: see `measure_rows`.

        Raises:
            BitstreamError: damaged, cut too short, foreign, of another version or model.
            ValueError: the side image is none or of another size than the coded image, or steps out of range.
        """
        if not 1 <= steps <= 1000:
            raise ValueError(f"steps must be 1 to 1000, not {steps}")
        clock = Clock(self.device)
        info, tokens, pixels = self._read(data, side, row_offset)
        height, width, mirror = info.height, info.width, info.view == "right"
        padded = _padded(info)
        x_hat = self._mdic.quantizer.dequantize(tokens, (padded[0] // 16, padded[1] // 16))
        clock.lap("entropy")
        if caption is None:
            caption = "" if side is None else self.caption(side)
        z_text = self._encode_text(mirrored_caption(caption) if mirror else caption)
        clock.lap("caption")
        if pixels is None:
            view = self._mdic.no_side(padded)
        else:
            view = self._mdic.side(pixels)
        condition = self._mdic.condition(x_hat, view)
        clock.lap("side")
        # On the CPU, so that one seed is one noise on every device.
        noise = torch.randn(view.z_y.shape, generator=torch.Generator().manual_seed(seed)).to(self.device)
        empty = self._encode_text("") if self._guidance != 1 else None
        z = self._mdic.denoise(noise, condition, z_text, steps, self._guidance, empty)
        clock.lap("denoise")
        picture = self._mdic.pixels(z, condition, view, sharpness(view, steps))[0]
        image = to_image(picture, height, width, mirror)
        mask = F.interpolate(condition.mask, size=padded, mode="bilinear", align_corners=False)
        shared = to_image(2 * mask - 1, height, width, mirror)[:, :, 0]
        clock.lap("pixels")
        rate_point = len(tokens) - 1
        return Reconstruction(image, shared, caption, clock.timings(), rate_point, rate_point < info.rate_point)

    @torch.inference_mode()
    def measure_rows(self, data: bytes, side: Image, row_offset: float = 0.0) -> RowOffset:
        """Measures by how many rows a side image is off, from the tokens alone: see `mdic_ros.models.row_offset`.

        One frame of few bytes says little; `RowKeeper` puts together what the frames of a stream say.

        Args:
            data, side: as in `decode`.
            row_offset: what is known already; what is found is the whole, not what it differs by.

        Raises:
            BitstreamError, ValueError: as `decode`.
        """
        info, tokens, pixels = self._read(data, side, row_offset)
        assert pixels is not None
        mdic, (height, width) = self._mdic, _padded(info)
        grid = (height // 16, width // 16)
        condition = mdic.condition(mdic.quantizer.dequantize(tokens, grid), mdic.side(pixels))

        def encode(image: Tensor) -> Tensor:
            return mdic.quantizer.comparable(self._hyper_align(encode_latent(mdic.vae, image)))

        codes = mdic.quantizer.codes(tokens, grid)
        found = measure(codes, pixels, condition.matches[-1].offset, condition.mask, encode)
        return RowOffset(row_offset + found.mean, found.precision)

    def _read(
        self, data: bytes, side: Image | None, row_offset: float
    ) -> tuple[BitstreamInfo, list[Tensor], Tensor | None]:
        """Header, tokens, and the side image as the networks take it."""
        if not abs(row_offset) <= MAX_ROWS:
            raise ValueError(f"row_offset must be -{MAX_ROWS} to {MAX_ROWS} rows, not {row_offset}")
        info, header, payload = split(data, self._identity, self.rate_points)
        pixels = None if side is None else to_tensor(side, self.device, mirror=info.view == "right")
        if side is not None and side.shape[:2] != (info.height, info.width):
            raise ValueError(
                f"the side image is {side.shape[0]}x{side.shape[1]}, the coded image {info.height}x{info.width}: "
                "resize it first"
            )
        height, width = _padded(info)
        tokens = self._coder.decode(payload, (height // 16, width // 16), info.rate_point + 1, header)
        if pixels is not None:
            pixels = pad_to_multiple(shifted(pixels, row_offset) if row_offset else pixels, MULTIPLE)
        return info, [grid[None] for grid in tokens], pixels

    def _encode_text(self, caption: str) -> Tensor:
        if caption not in self._text:
            if len(self._text) > 8:  # captions change seldom; do not hoard those of a day
                self._text.clear()
            self._text[caption] = encode_text(self._tokenizer, self._text_encoder, [caption])
        return self._text[caption]


def to_tensor(image: Image, device: str | torch.device, mirror: bool = False) -> Tensor:
    """H x W x 3 uint8 RGB to (1, 3, H, W) float32 in [-1, 1], as it is or in a mirror."""
    check_image(image)
    # A copy: images that wrap a message are read-only, and flipped ones have strides that torch does not take.
    pixels = torch.from_numpy((image[:, ::-1] if mirror else image).copy()).to(device).permute(2, 0, 1)[None]
    return pixels.float() / 127.5 - 1


def to_image(picture: Tensor, height: int, width: int, mirror: bool = False) -> Image:
    """(1, C, H', W') float, about [-1, 1], to height x width x C uint8: without padding, a mirror undone."""
    pixels = (picture[0, :, :height, :width].float().clamp(-1, 1) + 1) * 127.5
    image = pixels.round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(image[:, ::-1] if mirror else image)


def _padded(info: BitstreamInfo) -> tuple[int, int]:
    """Rows and columns of the image as it is coded."""
    return -(-info.height // MULTIPLE) * MULTIPLE, -(-info.width // MULTIPLE) * MULTIPLE
