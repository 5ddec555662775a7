"""The captioner describes the side image at the decoder, so that text costs no bits (the paper's BLIP-2).

One class runs both sizes: a small ``BlipForConditionalGeneration`` trained with the rest of the bundle, and a
``Blip2ForConditionalGeneration`` such as the paper's, each read from a folder in transformers' own format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoTokenizer,
    Blip2ForConditionalGeneration,
    BlipForConditionalGeneration,
    PreTrainedTokenizerBase,
)
from transformers.image_processing_base import ImageProcessingMixin

MAX_TOKENS = 32
"""Length of a caption, at most (the paper's number)."""

_MODELS: dict[str, Any] = {"blip": BlipForConditionalGeneration, "blip-2": Blip2ForConditionalGeneration}


class Captioner:
    """Image to sentence, greedy and therefore deterministic.

    Args:
        model: A BLIP or BLIP-2 model for conditional generation, in evaluation mode on its device.
        tokenizer: The tokenizer the model was trained with.
        image_size: Height and width the model sees, pixels, multiples of its patch size. Whole images are
            squeezed into it, as BLIP's own preprocessing does. A size that is not the one in the model's
            configuration (BLIP knows squares only) has the position embeddings interpolated.
        mean: Mean of the three channels to subtract, images in 0..1.
        std: What to divide the three channels by afterwards.
        max_tokens: Length of the caption, at most.
    """

    def __init__(
        self,
        model: BlipForConditionalGeneration | Blip2ForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        image_size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        max_tokens: int = MAX_TOKENS,
    ) -> None:
        self.model: Any = model
        self.tokenizer = tokenizer
        self.image_size = image_size
        self.mean, self.std = tuple(mean), tuple(std)
        self.max_tokens = max_tokens

    @classmethod
    def from_pretrained(
        cls,
        folder: str | PathLike[str],
        tokenizer: PreTrainedTokenizerBase | None = None,
        device: str | torch.device = "cpu",
    ) -> Captioner:
        """Reads ``config.json``, ``model.safetensors`` and ``preprocessor_config.json`` of a local folder.

        Args:
            folder: In transformers' format, of a BLIP or a BLIP-2 captioner.
            tokenizer: The bundle's tokenizer, used unless the folder has one of its own (BLIP-2's has).
            device: Where to run. The CPU computes in float32, other devices in the type of the stored
                weights.

        Raises:
            ValueError: The folder holds another kind of model, or no tokenizer was given and it has none.
            OSError: A file is missing or cannot be read.
        """
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if config.model_type not in _MODELS:
            known = " or ".join(_MODELS)
            raise ValueError(f"{folder}: a captioner is a {known} model, not {config.model_type!r}")
        # For a folder without a tokenizer transformers returns an empty one.
        if any((Path(folder) / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if tokenizer is None:
            raise ValueError(f"{folder}: no tokenizer in the captioner's folder and none given")
        dtype = torch.float32 if torch.device(device).type == "cpu" else "auto"
        model = _MODELS[config.model_type].from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=dtype
        )
        preprocessing, _ = ImageProcessingMixin.get_image_processor_dict(folder, local_files_only=True)
        size = _height_width(preprocessing["size"])
        model = model.to(device).eval()
        return cls(model, tokenizer, size, preprocessing["image_mean"], preprocessing["image_std"])

    def preprocessing(self) -> dict[str, Any]:
        """Content of ``preprocessor_config.json`` beside the model."""
        height, width = self.image_size
        return {
            "image_processor_type": "BlipImageProcessor",
            "size": {"height": height, "width": width},
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }

    def pixel_values(self, image: np.ndarray | Tensor) -> Tensor:
        """Resizes (bilinear, antialiased) and normalises one image.

        Args:
            image: H x W x 3 uint8 RGB.

        Returns:
            (1, 3, height, width) float32 on the model's device.

        Raises:
            ValueError: The image has another shape or type.
        """
        # A copy: arrays that wrap a message or a file are often read-only, which torch cannot share.
        pixels = image if isinstance(image, Tensor) else torch.tensor(image)
        if pixels.dim() != 3 or pixels.shape[-1] != 3 or pixels.dtype != torch.uint8:
            shape = "x".join(str(side) for side in pixels.shape)
            raise ValueError(f"a captioner takes H x W x 3 uint8 images, not {shape} {pixels.dtype}")
        pixels = pixels.to(self.model.device).permute(2, 0, 1)[None].float() / 255
        pixels = F.interpolate(pixels, self.image_size, mode="bilinear", align_corners=False, antialias=True)
        mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (pixels - mean) / std

    @property
    def interpolates(self) -> bool:
        """Whether the model's position embeddings are interpolated to ``image_size``."""
        side = self.model.config.vision_config.image_size
        return self.image_size != (side, side)

    @torch.inference_mode()
    def caption(self, image: np.ndarray | Tensor) -> str:
        """Describes one image, H x W x 3 uint8 RGB of any size, in at most ``max_tokens`` tokens."""
        # BLIP-2 keeps its query transformer in float32, so the dtype is that of the vision model.
        dtype = next(self.model.vision_model.parameters()).dtype
        tokens = self.model.generate(
            pixel_values=self.pixel_values(image).to(dtype),
            interpolate_pos_encoding=self.interpolates,
            max_new_tokens=self.max_tokens,
            do_sample=False,
            num_beams=1,
        )
        sentence = cast(str, self.tokenizer.decode(tokens[0], skip_special_tokens=True))
        # Byte-pair tokens of commas and full stops decode with a space in front.
        return " ".join(sentence.split()).replace(" ,", ",").replace(" .", ".")


def _height_width(size: Mapping[str, int] | int) -> tuple[int, int]:
    """Reads ``size`` of a ``preprocessor_config.json``: {"height", "width"}, {"shortest_edge"}, a number."""
    if isinstance(size, int):
        return size, size
    if "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"]
    return size["height"], size["width"]
