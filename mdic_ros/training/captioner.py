"""Stage of the captioner: a small BLIP, trained on its own to describe street images.

Both views are used with the caption of the left one. For mirrored images "left" and "right" are swapped in the caption.
Crops range from the whole image to the field of view of the MDIC protocol, since a decoder may get either.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from pydantic import NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn
from transformers import BlipConfig, BlipForConditionalGeneration, PreTrainedTokenizerBase

from mdic_ros.models.captioner import Captioner
from mdic_ros.models.text import IGNORE, find_nouns, mirrored_caption
from mdic_ros.training.config import ConfigError, Options, Share
from mdic_ros.training.data import Pair

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the images that CLIP and BLIP were trained on, so that BLIP checkpoints and this one take the same input."""


class CaptionerConfig(Options):
    """Stage options, under ``captioner:`` in the YAML."""

    hidden_size: PositiveInt = 128
    heads: PositiveInt = 4
    vision_layers: PositiveInt = 4
    text_layers: PositiveInt = 2
    patch_size: PositiveInt = 16
    dropout: Share = 0.1  #: in the text half
    label_smoothing: Share = 0.1
    token_dropout: Share = 0.3  #: share of the sentence's tokens hidden from the model that must continue it
    patch_dropout: Share = 0.1  #: share of image patches painted over
    words_weight: NonNegativeFloat = 1.0  #: of the loss that predicts the words of caption and tags from the image

    @property
    def multiple(self) -> int:
        """Of pixels, that the sides of the crops must be."""
        return self.patch_size

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size is {self.hidden_size}, it must be a multiple of heads, {self.heads}")
        return self


def build_captioner(
    tokenizer: PreTrainedTokenizerBase, config: CaptionerConfig, image_size: tuple[int, int]
) -> Captioner:
    """A small BLIP with random weights for images of ``image_size`` (height, width; whole patches)."""
    sizes = {
        "hidden_size": config.hidden_size,
        "intermediate_size": 4 * config.hidden_size,
        "num_attention_heads": config.heads,
        "projection_dim": config.hidden_size,
        "initializer_range": 0.05,  # BLIP's 0.02 is for six times the width; here the image would have no effect
    }
    # BLIP takes square images only: position embeddings are those of the smallest square with as many patches.
    patch = config.patch_size
    side = int(np.ceil(np.sqrt((image_size[0] // patch) * (image_size[1] // patch)))) * patch
    blip = BlipConfig(
        vision_config={
            **sizes,
            "num_hidden_layers": config.vision_layers,
            "image_size": side,
            "patch_size": patch,
        },
        text_config={
            **sizes,
            "num_hidden_layers": config.text_layers,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 2 * tokenizer.model_max_length,
            "hidden_dropout_prob": config.dropout,
            "attention_probs_dropout_prob": config.dropout,
            "label_smoothing": config.label_smoothing,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "sep_token_id": tokenizer.eos_token_id,  # BLIP ends a sentence with this one
            "pad_token_id": tokenizer.pad_token_id,
        },
        projection_dim=config.hidden_size,
        image_text_hidden_size=config.hidden_size,
    )
    return Captioner(BlipForConditionalGeneration(blip).eval(), tokenizer, image_size, MEAN, STD)


def save_captioner(captioner: Captioner, folder: Path) -> None:
    """Writes model (half precision) and preprocessing; the tokenizer is the bundle's, beside it."""
    copy.deepcopy(captioner.model).half().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(captioner.preprocessing(), indent=2) + "\n")


@dataclass(frozen=True)
class CaptionBatch:
    """(B, 3, H, W) float normalised images and (B, L) int64 token ids of their captions, padded."""

    pixel_values: Tensor
    token_ids: Tensor
    words: Tensor  #: (B, vocabulary) float, shares that sum to one: the words of the caption and of the tags


class CaptionCrops:
    """Batches of one view of a random captioned pair, a random crop of it, and its caption.

    Args:
        pairs: pairs to draw from; those without a caption are skipped.
        captioner: for its image size, normalisation and tokenizer.
        config: options of the stage.
        batch: crops per batch.

    Raises:
        ConfigError: no pair has a caption.
    """

    def __init__(self, pairs: Sequence[Pair], captioner: Captioner, config: CaptionerConfig, batch: int) -> None:
        self.pairs = [pair for pair in pairs if pair.caption]
        if not self.pairs:
            raise ConfigError("no pair to train on has a caption; write captions.jsonl beside the data")
        self.config, self.batch, self.size = config, batch, captioner.image_size
        self.mean, self.std = (torch.tensor(v).view(1, 3, 1, 1) for v in (captioner.mean, captioner.std))
        # Shrunk once by a whole factor, since resizing full images would take more time than the network.
        factors = [max(1, pair.left.height // self.size[0]) for pair in self.pairs]
        self.views = [
            (pair.left.reduce(factor), pair.right.reduce(factor))
            for pair, factor in zip(self.pairs, factors, strict=True)
        ]
        # Captions shared by many frames get less weight per frame.
        uses: dict[str, int] = {}
        for pair in self.pairs:
            uses[pair.caption] = uses.get(pair.caption, 0) + 1
        weight = np.array([uses[pair.caption] ** -0.5 for pair in self.pairs])
        self.weight = weight / weight.sum()
        # Tokenised here, since tokenizers are not safe in several threads. Mirrored captions come second.
        tokenizer = captioner.tokenizer
        self.pad: int = tokenizer.pad_token_id
        captions = [change(pair.caption) for change in (str, mirrored_caption) for pair in self.pairs]
        tagged = [" ".join([s, *pair.tags]) for s, pair in zip(captions, [*self.pairs, *self.pairs], strict=True)]
        self.ids = token_ids(tokenizer, captions).view(2, len(self.pairs), -1)
        self.words = bags_of_words(tokenizer, tagged).view(2, len(self.pairs), -1)

    def sample(self, rng: np.random.Generator) -> CaptionBatch:
        """One batch; safe to call from several threads."""
        images, ids, words = [], [], []
        for index in rng.choice(len(self.pairs), self.batch, p=self.weight):
            image = self._crop(self.views[index][int(rng.random() < 0.5)], rng)
            mirrored = int(rng.random() < 0.5)
            images.append(image[:, ::-1] if mirrored else image)
            ids.append(self.ids[mirrored, index])
            words.append(self.words[mirrored, index])
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        pixels = self._paint_over(self._jitter((pixels - self.mean) / self.std, rng), rng)
        tokens = torch.stack(ids)
        longest = int((tokens != self.pad).sum(1).max())
        return CaptionBatch(pixels, tokens[:, :longest], torch.stack(words))

    def _crop(self, view: Image.Image, rng: np.random.Generator) -> np.ndarray:
        """A random crop, H x W x 3 uint8 of the captioner's image size."""
        full_width, full_height = view.size
        height = full_height * rng.uniform(0.8, 1)
        width = min(full_width, height * rng.uniform(1.7, 3.4))
        # Most things in a caption are in the middle of the road, so crops are more likely there.
        left = (full_width - width) * rng.beta(2, 2)
        top = (full_height - height) * rng.random()
        box = (round(left), round(top), round(left + width), round(top + height))
        return np.asarray(view.resize((self.size[1], self.size[0]), Image.Resampling.BILINEAR, box=box))

    def _jitter(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        """Brightness, contrast and saturation; never hue, since captions name colours."""
        shape = (len(pixels), 1, 1, 1)
        contrast, saturation = (_uniform(rng, 0.7, 1.3, shape) for _ in range(2))
        grey = pixels.mean(1, keepdim=True)
        return (grey + (pixels - grey) * saturation) * contrast + _uniform(rng, -0.5, 0.5, shape)

    def _paint_over(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        patch = self.config.patch_size
        grid = (len(pixels), 1, pixels.shape[2] // patch, pixels.shape[3] // patch)
        kept = torch.from_numpy(rng.random(grid) >= self.config.patch_dropout)
        return pixels * kept.repeat_interleave(patch, 2).repeat_interleave(patch, 3)


def _uniform(rng: np.random.Generator, low: float, high: float, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))


def token_ids(tokenizer: PreTrainedTokenizerBase, captions: Sequence[str]) -> Tensor:
    """(B, L) int64, padded to the longest caption."""
    ids: Any = tokenizer(list(captions), padding=True, truncation=True, return_tensors="pt")["input_ids"]
    return ids


def bags_of_words(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Tensor:
    """(B, vocabulary) float: equal shares, one in sum, for every distinct token of a text."""
    bags = torch.zeros(len(texts), len(tokenizer))
    for bag, text in zip(bags, texts, strict=True):
        bag[tokenizer(text, add_special_tokens=False)["input_ids"]] = 1
    return bags / bags.sum(1, keepdim=True).clamp(min=1)


class CaptionerStage:
    """Next-token prediction, the image in cross attention (BLIP, arXiv 2201.12086, section 3.2)."""

    def __init__(self, captioner: Captioner, held_out: Sequence[Pair], config: CaptionerConfig) -> None:
        self.captioner, self.config = captioner, config
        self.held_out = [pair for pair in held_out if pair.caption]
        self.blip: BlipForConditionalGeneration = captioner.model
        self.words = nn.Linear(config.hidden_size, len(captioner.tokenizer)).to(self.blip.device)
        self.network = nn.ModuleDict({"blip": self.blip, "words": self.words})

    def loss(self, batch: CaptionBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Smoothed cross-entropy in nats per token, and the accuracy of the next token.

        A few hundred sentences are soon learnt by heart, without use of the image. So the mean of the image's tokens
        must also predict the words of caption and tags; the layer for this is not part of the bundle.
        """
        ids = batch.token_ids.to(self.blip.device)
        tokenizer = self.captioner.tokenizer
        hidden = torch.rand(ids.shape, device=ids.device) < self.config.token_dropout
        hidden &= (ids != tokenizer.bos_token_id) & (ids != tokenizer.pad_token_id)
        seen = ids.masked_fill(hidden, int(tokenizer.mask_token_id))
        output = self._forward(batch.pixel_values, seen, ids)
        named = self.words(output.image_embeds.mean(1)).float().log_softmax(-1)
        words_loss = -(named * batch.words.to(named.device)).sum(-1).mean()
        figures = {"words_loss": words_loss.item(), "accuracy": _accuracy(output.logits, ids, tokenizer.pad_token_id)}
        return output.loss + self.config.words_weight * words_loss, figures

    def _forward(self, pixels: Tensor, seen: Tensor, ids: Tensor) -> Any:
        pad = self.captioner.tokenizer.pad_token_id
        return self.blip(
            pixel_values=pixels.to(self.blip.device),
            input_ids=seen,
            attention_mask=(ids != pad).long(),
            labels=ids.masked_fill(ids == pad, IGNORE),
            interpolate_pos_encoding=self.captioner.interpolates,
        )

    def validate(self) -> dict[str, float]:
        """``caption_figures`` on the held-out drives: every second pair, or fewer, evenly spread, of more than 80."""
        return self.caption_figures(self.held_out[:: max(2, math.ceil(len(self.held_out) / 40))])

    def caption_figures(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """How well the captions of the left views are predicted.

        Returns:
            ``token_accuracy``: share of next tokens that are right, given the true sentence before them;
            ``blind_accuracy``: the same with a flat grey image: the accuracy from the words alone;
            ``noun_f1``: harmonic mean of precision and recall of the nouns in generated captions.
        """
        ids = token_ids(self.captioner.tokenizer, [pair.caption for pair in pairs]).to(self.blip.device)
        pixels = torch.cat([self.captioner.pixel_values(np.asarray(pair.left)) for pair in pairs])
        pad = self.captioner.tokenizer.pad_token_id
        figures = {
            name: _accuracy(self._forward(images, ids, ids).logits, ids, pad)
            for name, images in (("token_accuracy", pixels), ("blind_accuracy", torch.zeros_like(pixels)))
        }
        met = said = wanted = 0
        for pair in pairs:
            found, true = _nouns(self.captioner.caption(np.asarray(pair.left))), _nouns(pair.caption)
            met, said, wanted = met + len(found & true), said + len(found), wanted + len(true)
        return {**figures, "noun_f1": 2 * met / max(said + wanted, 1)}

    def save(self, bundle: Path) -> None:
        """Writes ``captioner/`` of the bundle."""
        save_captioner(self.captioner, bundle / "captioner")


def _nouns(caption: str) -> set[str]:
    return {caption[start:end].removesuffix("s") for start, end in find_nouns(caption)}


def _accuracy(logits: Tensor, ids: Tensor, pad: int) -> float:
    right, real = logits[:, :-1].argmax(-1) == ids[:, 1:], ids[:, 1:] != pad
    return ((right & real).sum() / real.sum()).item()
