"""The workstation's half: bytes and side image -> picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from mdic_ros.codec.bitstream import BitstreamInfo, feature_grid, inspect, padded_size, split
from mdic_ros.codec.bundle import WORKSTATION, Bundle
from mdic_ros.codec.clock import Clock
from mdic_ros.codec.components import load
from mdic_ros.codec.entropy_coding import EntropyCoder
from mdic_ros.codec.images import Image, check_image, mirrored, to_pixels
from mdic_ros.codec.limits import MAX_SEED, MAX_STEPS, check_threads
from mdic_ros.codec.precision import Dtype, choose_dtype
from mdic_ros.codec.prior import load_prior
from mdic_ros.errors import ImageError, MdicError
from mdic_ros.models.autoencoder import encode_latent
from mdic_ros.models.low_precision import use_bfloat16
from mdic_ros.models.mdic import MDIC
from mdic_ros.models.row_measurement import measure_rows, shift_rows
from mdic_ros.models.row_offset import MAX_ROWS, RowOffset
from mdic_ros.models.text import encode_text, mirrored_caption


@dataclass(frozen=True)
class ParsedPacket:
    """A packet whose header and tokens have been read and checked."""

    info: BitstreamInfo  #: the header
    tokens: list[npt.NDArray[np.int64]]  #: token grids (h_k, w_k), coarse to fine, as many as are whole
    size: int  #: bytes of the packet
    entropy_ms: float  #: milliseconds that reading took

    @property
    def rate_point(self) -> int:
        """The rate point that can be decoded, 0 = coarsest."""
        return len(self.tokens) - 1

    @property
    def cut(self) -> bool:
        """The packet was cut on its way: `rate_point` is coarser than what was sent."""
        return self.rate_point < self.info.rate_point


@dataclass(frozen=True)
class SideView:
    """A view beside the packet."""

    image: Image  #: H x W x 3 uint8 RGB, of the coded size, from the camera that is not coded
    row_offset: float = 0.0  #: by how many rows it is lower than in a rectified pair, see `Decoder.measure_rows`


@dataclass(frozen=True)
class Reconstruction:
    """A decoded picture."""

    image: Image  #: H x W x 3 uint8 RGB, the coded size
    mask: npt.NDArray[np.uint8]  #: H x W uint8: 255 = shared with the side image, 0 = not, or no side image
    caption: str  #: the text that conditioned the denoiser
    timings: dict[str, float]  #: milliseconds: entropy, caption, side, denoise, pixels, total
    rate_point: int  #: what was decoded, 0 = coarsest
    cut: bool  #: the packet was cut on its way: `rate_point` is coarser than what was sent


class Decoder:
    """Decodes bitstreams with the workstation's half of a bundle.

    >>> decoder = Decoder.from_pretrained()
    >>> picture = decoder.decode(data, [SideView(right_image)]).image

    Attributes:
        model_id, fingerprint: of the bundle.
        rate_points: how many there are.
        dtype: "float32" or "bfloat16", what was chosen.
        mdic: the networks from tokens to picture.
    """

    def __init__(
        self, bundle: Bundle, device: str | torch.device = "cpu", dtype: Dtype = "auto", threads: int = 0
    ) -> None:
        check_threads(threads)
        if threads:
            torch.set_num_threads(threads)
        self.device = _device(device)
        self.dtype = choose_dtype(dtype, self.device.type)
        self.model_id, self.fingerprint = bundle.model_id, bundle.fingerprint
        self._identity = bytes.fromhex(bundle.fingerprint)
        self._guidance = bundle.guidance
        self._coder = EntropyCoder(load_prior(bundle.check("entropy_model")), self._identity)
        self.rate_points: int = self._coder.prior.scales
        parts = {name: load(bundle, name, device) for name in WORKSTATION if name != "entropy_model"}
        self._tokenizer, self._text_encoder = parts.pop("tokenizer"), parts.pop("text_encoder")
        self._captioner = parts.pop("captioner")
        self._hyper_align = parts.pop("hyper_align").to(memory_format=torch.channels_last)
        self.mdic = MDIC(**parts).to(self.device).eval()
        self.mdic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.dtype == "bfloat16":
            for name, part in self.mdic.named_children():
                if name != "quantizer":  # which code is nearest to the side image's features is a close decision
                    use_bfloat16(part, keep=("guess_x", "guess_y"))  # sums of squares of offsets across an image
        self._text: dict[str, Tensor] = {}

    @classmethod
    def from_pretrained(
        cls,
        path: str | PathLike[str] | None = None,
        device: str | torch.device = "cpu",
        dtype: Dtype = "auto",
        threads: int = 0,
    ) -> Decoder:
        """Loads the workstation's half of a bundle folder.

        Args:
            path: the folder; None = the bundle that ships with the package.
            device: where the networks run, as PyTorch names it.
            dtype: of the products in the networks: "float32", "bfloat16", or "auto", see `choose_dtype`. Which tokens a
                packet stands for does not depend on it.
            threads: of PyTorch on the CPU, for the whole process, up to 256; 0 = leave it as it is.

        Raises:
            BundleError: the folder is no whole, undamaged bundle.
            MdicError: there is no such device; too many threads.
        """
        return cls(Bundle(path), device, dtype, threads)

    def caption(self, side: Image) -> str:
        """Describes a side image, H x W x 3 uint8 RGB; slower than a decode, so callers keep it for some frames."""
        return self._captioner.caption(side)

    def forget_texts(self) -> None:
        """Drops the encoded captions that are kept, so that the next decode encodes its own again."""
        self._text.clear()

    def max_bytes(self, info: BitstreamInfo) -> int:
        """No packet with this header is longer than this."""
        grid = feature_grid(info.height, info.width)
        return info.header_bytes + self._coder.max_bytes(grid, info.rate_point + 1)

    def read(self, data: bytes, info: BitstreamInfo | None = None) -> ParsedPacket:
        """Parses and entropy-decodes a packet. Whatever looks at a packet afterwards takes the result.

        Args:
            data: a bitstream of this bundle, whole or cut.
            info: its header, where the caller has looked at it already.

        Raises:
            BitstreamError: damaged, cut too short, foreign, of another version or model.
        """
        started = time.perf_counter()
        info = info or inspect(data)
        header, payload = split(data, info, self._identity, self.rate_points)
        tokens = self._coder.decode(payload, feature_grid(info.height, info.width), info.rate_point + 1, header)
        return ParsedPacket(info, tokens, len(data), 1e3 * (time.perf_counter() - started))

    @torch.inference_mode()
    def decode(
        self,
        packet: bytes | ParsedPacket,
        views: Sequence[SideView] = (),
        *,
        caption: str | None = None,
        steps: int = 1,
        seed: int = 0,
    ) -> Reconstruction:
        """Decodes a packet.

        The same bytes, views, caption, seed and steps give the same picture on one machine.

        Args:
            packet: a bitstream of this bundle, whole or cut, or what `read` made of it.
            views: views beside the packet; today one, the side image, or none.
            caption: text for the denoiser; None = a new caption of the side image ("" without one).
            steps: denoising steps, 1 to 100: 1 is closest to the original, but soft; 2 and more are sharp.
            seed: of the noise that the denoiser starts from, 0 to 2^31 - 1.

        Raises:
            BitstreamError: damaged, cut too short, foreign, of another version or model.
            ImageError: a view is no image, or of another size than the coded image.
            ValueError: more than one view, or steps, seed or a row offset out of range.
        """
        if not 1 <= steps <= MAX_STEPS:
            raise ValueError(f"steps must be 1 to {MAX_STEPS}, not {steps}")
        if not 0 <= seed <= MAX_SEED:
            raise ValueError(f"seed must be 0 to {MAX_SEED}, not {seed}")
        if len(views) > 1:
            raise ValueError(f"{len(views)} views beside the packet, today there is one at most")
        if not isinstance(packet, ParsedPacket):
            packet = self.read(packet)
        info = packet.info
        for view in views:
            _check_view(view, info)
        clock = Clock(partial(torch.cuda.synchronize, self.device) if self.device.type == "cuda" else None)
        if caption is None:
            caption = self.caption(views[0].image) if views else ""
        z_text = self._encode_text(mirrored_caption(caption) if info.view == "right" else caption)
        z_empty = self._encode_text("") if self._guidance != 1 else None
        clock.lap("caption")
        sides = [self.mdic.side(self._pixels(view, info)) for view in views]
        picture, condition = self.mdic.reconstruct(
            self._on_device(packet),
            feature_grid(info.height, info.width),
            sides or [self.mdic.no_side(padded_size(info.height, info.width))],
            z_text,
            steps=steps,
            seed=seed,
            guidance=self._guidance,
            z_empty=z_empty,
            lap=clock.lap,
        )
        image = _to_image(picture, info)
        mask = F.interpolate(condition.mask, size=picture.shape[-2:], mode="bilinear", align_corners=False)
        shared = _to_image(2 * mask - 1, info)[:, :, 0]
        clock.lap("pixels")
        timings = {"entropy": packet.entropy_ms, **clock.timings()}
        timings["total"] += packet.entropy_ms
        return Reconstruction(image, shared, caption, timings, packet.rate_point, packet.cut)

    @torch.inference_mode()
    def measure_rows(self, packet: ParsedPacket, view: SideView) -> RowOffset:
        """Measures by how many rows a side image is off, from the tokens alone: see `models.row_measurement`.

        One frame of few bytes says little: fuse the measurements of several frames of a stream.

        Args:
            packet: as `read` returns it.
            view: the side image; its row offset is what is known already. The result is the whole offset, not the
                difference from it.

        Raises:
            ImageError: the view is no image, or of another size than the coded image.
            ValueError: its row offset is out of range.
        """
        mdic, info = self.mdic, packet.info
        _check_view(view, info)
        grid, tokens, pixels = feature_grid(info.height, info.width), self._on_device(packet), self._pixels(view, info)
        condition = mdic.condition(mdic.quantizer.dequantize(tokens, grid), mdic.side(pixels))

        def encode(image: Tensor) -> Tensor:
            return mdic.quantizer.comparable(self._hyper_align(encode_latent(mdic.vae, image)))

        codes = mdic.quantizer.codes(tokens, grid)
        found = measure_rows(codes, pixels, condition.matches[-1].offset, condition.mask, encode)
        return RowOffset(view.row_offset + found.mean, found.precision)

    def _on_device(self, packet: ParsedPacket) -> list[Tensor]:
        """Token grids as the networks take them, (1, h_k, w_k) int64."""
        return [torch.from_numpy(grid).to(self.device)[None] for grid in packet.tokens]

    def _pixels(self, view: SideView, info: BitstreamInfo) -> Tensor:
        """A view as the networks take it, see `to_pixels`, its row offset corrected."""
        pixels = torch.from_numpy(to_pixels(view.image, mirror=info.view == "right")).to(self.device)
        if view.row_offset:
            rows, columns = pixels.shape[-2:]
            # Without the padding, which has to repeat the border of the result.
            shifted = shift_rows(pixels[:, :, : info.height, : info.width], view.row_offset)
            pixels = F.pad(shifted, (0, columns - info.width, 0, rows - info.height), mode="replicate")
        return pixels

    def _encode_text(self, caption: str) -> Tensor:
        if caption not in self._text:
            if len(self._text) > 8:  # captions change seldom, so few are kept
                self._text.clear()
            self._text[caption] = encode_text(self._tokenizer, self._text_encoder, [caption])
        return self._text[caption]


def _check_view(view: SideView, info: BitstreamInfo) -> None:
    """Raises ImageError or ValueError unless a view fits the packet."""
    check_image(view.image)
    if view.image.shape[:2] != (info.height, info.width):
        raise ImageError(
            f"the side image is {view.image.shape[0]}x{view.image.shape[1]}, the coded image "
            f"{info.height}x{info.width}: resize it first"
        )
    if not abs(view.row_offset) <= MAX_ROWS:
        raise ValueError(f"row_offset must be -{MAX_ROWS} to {MAX_ROWS} rows, not {view.row_offset}")


def _to_image(picture: Tensor, info: BitstreamInfo) -> Image:
    """(1, C, H', W') float, about [-1, 1], to H x W x C uint8: without the padding, a mirrored view turned back."""
    pixels = (picture[0, :, : info.height, : info.width].float().clamp(-1, 1) + 1) * 127.5
    image: Image = pixels.round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return mirrored(image) if info.view == "right" else np.ascontiguousarray(image)


def _device(name: str | torch.device) -> torch.device:
    """The device of this name.

    Raises:
        MdicError: this machine has none; the text says which ones it has.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where PyTorch was built without CUDA
        count = torch.cuda.device_count()
        there = f"cpu or cuda:0 to cuda:{count - 1}" if count else "cpu, since PyTorch finds no CUDA here"
        raise MdicError(f"no device '{name}' here: take {there}") from error
    return device
