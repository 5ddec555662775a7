"""uint8 images at the public boundary <-> tensors inside.

The networks know one arrangement: the left camera's image is coded, the right one's is the side image. In a mirror the
right view of a pair is the left one, shifted against the other just the same way, so that a coded right view and its
side image are mirrored on their way in, and what comes of them on its way out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Image = npt.NDArray[np.uint8]  #: H x W x 3 uint8 RGB


def to_tensor(image: Image, device: str | torch.device, mirror: bool = False) -> Tensor:
    """H x W x 3 uint8 RGB to (1, 3, H, W) float32 in [-1, 1], as it is or in a mirror.

    Raises:
        ValueError: another shape or type.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"an image is an H x W x 3 uint8 RGB array, not {what}")
    # A copy: images that wrap a message are read-only, and flipped ones have strides that torch does not take.
    pixels = torch.from_numpy((image[:, ::-1] if mirror else image).copy()).to(device).permute(2, 0, 1)[None]
    return pixels.float() / 127.5 - 1


def to_image(picture: Tensor, height: int, width: int, mirror: bool = False) -> Image:
    """(1, C, H', W') float, about [-1, 1], to height x width x C uint8: without padding, a mirror undone."""
    pixels = (picture[0, :, :height, :width].float().clamp(-1, 1) + 1) * 127.5
    image = pixels.round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(image[:, ::-1] if mirror else image)
