"""Textual side information: captions to ``z_text``; and the nouns of captions, which supervise the mask in training.

The decoder runs ``encode_text``: the caption of the side image becomes the context of the denoiser's cross attention.
The rest is for training only, the paper's *multimodal fine-grained alignment*: nouns of the caption are replaced by a
mask token (``mask_nouns``), and a small transformer (``NounPredictor``) predicts them from the rest of the sentence and
from ``m_v * z_y``. So the mask ``m_v`` learns to let through what the sentence mentions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import CLIPTextModel, PreTrainedTokenizerBase

MAX_NOUNS = 14
"""Nouns masked per caption, at most (the paper's number)."""

IGNORE = -100
"""Label of tokens that need not be predicted, as ``torch.nn.functional.cross_entropy`` has it."""

STREET_NOUNS = (
    "bike", "billboard", "building", "bus stop", "bush", "car", "convertible", "cyclist", "fence",
    "field", "flag", "grass", "highway", "hill", "house", "intersection", "man", "motorcycle",
    "parking sign", "path", "people", "person", "pole", "rail track", "road", "shadow", "shop",
    "sidewalk", "sign", "sky", "speed limit sign", "store", "street", "traffic cone", "traffic light",
    "trailer", "tram", "tree", "truck", "umbrella", "van", "wall", "worker",
)  # fmt: skip
"""Nouns of street scenes, for captions that come without a noun list of their own."""


def mirrored_caption(caption: str) -> str:
    """Swaps the words left and right, for a mirrored pair."""
    swap = {"left": "right", "right": "left"}
    return re.sub(r"\b(left|right)\b", lambda match: swap[match[0]], caption)


def encode_text(
    tokenizer: PreTrainedTokenizerBase,
    text_encoder: CLIPTextModel,
    captions: Sequence[str],
    max_length: int | None = None,
) -> Tensor:
    """Encodes captions as Stable Diffusion does: padded to a length, last hidden state, no attention mask.

    Args:
        tokenizer: The bundle's tokenizer.
        text_encoder: A ``CLIPTextModel``, of any size. Gradients flow if the caller lets them.
        captions: B sentences; longer ones are cut, an empty one is valid (the unconditional context).
        max_length: L, tokens per caption; None takes the longest that tokenizer and text encoder both know.

    Returns:
        z_text (B, L, D) on the device and in the type of ``text_encoder``.
    """
    if max_length is None:
        max_length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
    batch = tokenizer(list(captions), padding="max_length", truncation=True, max_length=max_length, return_tensors="pt")
    ids = cast(Tensor, batch["input_ids"]).to(text_encoder.device)
    return cast(Tensor, text_encoder(input_ids=ids).last_hidden_state)


def find_nouns(caption: str, nouns: Iterable[str] = STREET_NOUNS) -> list[tuple[int, int]]:
    """Finds ``nouns`` in ``caption``, as whole words, in singular or plural, the longest noun first.

    Args:
        caption: A sentence.
        nouns: What to look for; a noun may have several words ("traffic light"). Nouns that are not in the caption
            do no harm.

    Returns:
        Character spans (start, end), in the order of the sentence, without overlap.
    """
    taken: list[tuple[int, int]] = []
    for stem in sorted({_singular(noun) for noun in nouns}, key=lambda noun: (-len(noun), noun)):
        pattern = r"\b" + re.escape(stem).replace(r"\ ", r"\s+") + r"(?:s|es)?\b"
        for match in re.finditer(pattern, caption, flags=re.IGNORECASE):
            start, end = match.span()
            if all(end <= other_start or start >= other_end for other_start, other_end in taken):
                taken.append((start, end))
    return sorted(taken)


def _singular(noun: str) -> str:
    noun = noun.strip().lower()
    for ending, kept in (("shes", "sh"), ("ches", "ch"), ("ses", "se"), ("ss", "ss"), ("s", "")):
        if noun.endswith(ending):
            return noun.removesuffix(ending) + kept
    return noun


@dataclass(frozen=True)
class MaskedText:
    """A batch of captions with their nouns masked out, for training ``NounPredictor``."""

    token_ids: Tensor
    """(B, L) int64: the captions with the tokens of the nouns replaced by the mask token."""
    labels: Tensor
    """(B, L) int64: the replaced tokens where one was, ``IGNORE`` elsewhere."""
    attention_mask: Tensor
    """(B, L) bool: False on padding."""

    def to(self, device: torch.device | str) -> MaskedText:
        """The same batch on another device."""
        return MaskedText(self.token_ids.to(device), self.labels.to(device), self.attention_mask.to(device))


def mask_nouns(
    tokenizer: PreTrainedTokenizerBase,
    captions: Sequence[str],
    nouns: Sequence[Iterable[str]] | None = None,
    max_length: int | None = None,
    max_nouns: int = MAX_NOUNS,
) -> MaskedText:
    """Tokenises captions and replaces up to ``max_nouns`` nouns of each by the mask token.

    Args:
        tokenizer: A fast tokenizer. If it has no mask token (Stable Diffusion's has none), its unknown token is used.
        captions: B sentences.
        nouns: Per caption, the nouns to look for (the ``tags`` of the training data); a caption whose list is
            empty, and None for all of them, means ``STREET_NOUNS``.
        max_length: L, tokens per caption; None takes the tokenizer's own limit.
        max_nouns: Nouns to mask in one caption; the first ones of the sentence.

    Returns:
        The masked batch, on the CPU. A caption in which no noun is found is left whole, with no labels.

    Raises:
        ValueError: ``nouns`` has not one entry per caption, or the tokenizer has neither mask nor unknown
            token.
    """
    if nouns is not None and len(nouns) != len(captions):
        raise ValueError(f"{len(captions)} captions need as many noun lists, not {len(nouns)}")
    mask_id = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else tokenizer.unk_token_id
    if mask_id is None:
        raise ValueError("the tokenizer has neither a mask token nor an unknown token to stand in for it")
    batch = tokenizer(
        list(captions),
        padding="max_length",
        truncation=True,
        max_length=max_length or tokenizer.model_max_length,
        return_offsets_mapping=True,
        return_tensors="pt",
    )
    ids, offsets = cast(Tensor, batch["input_ids"]), cast(Tensor, batch["offset_mapping"])
    is_noun = torch.zeros_like(ids, dtype=torch.bool)
    for row, caption in enumerate(captions):
        wanted = tuple(nouns[row]) if nouns is not None else ()
        for start, end in find_nouns(caption, wanted or STREET_NOUNS)[:max_nouns]:
            first, last = offsets[row, :, 0], offsets[row, :, 1]
            # Special tokens have the empty span (0, 0).
            is_noun[row] |= (first < end) & (last > start) & (last > first)
    return MaskedText(
        token_ids=ids.masked_fill(is_noun, mask_id),
        labels=ids.masked_fill(~is_noun, IGNORE),
        attention_mask=cast(Tensor, batch["attention_mask"]).bool(),
    )


class NounPredictor(ModelMixin, ConfigMixin):
    """Predicts a caption's masked nouns from its other words and from the masked side latent.

    Sentence tokens attend to each other and to the visual tokens of ``m_v * z_y`` (two 3x3 convolutions, the
    second with stride 2, and fixed 2-D positions). Used in training only; not part of a bundle.
    """

    @register_to_config
    def __init__(
        self,
        vocab_size: int,
        latent_channels: int = 4,
        dim: int = 128,
        heads: int = 4,
        layers: int = 2,
        max_length: int = 32,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, dim)
        self.position = nn.Parameter(torch.randn(1, max_length, dim) * 0.02)
        # No bias and no normalisation here: a region that the mask closes must carry no signal.
        self.visual = nn.Sequential(
            nn.Conv2d(latent_channels, dim // 2, 3, padding=1, bias=False),
            nn.GELU(),
            nn.Conv2d(dim // 2, dim, 3, stride=2, padding=1, bias=False),
        )
        layer = nn.TransformerDecoderLayer(
            dim, heads, 4 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerDecoder(layer, layers, norm=nn.LayerNorm(dim))
        self.head = nn.Linear(dim, vocab_size)
        nn.init.normal_(self.embed.weight, std=0.02)

    def forward(self, token_ids: Tensor, visual: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Predicts every token of the sentence; only predictions at masked places are used.

        Args:
            token_ids: (B, L) int64, nouns masked; L at most ``max_length``.
            visual: (B, C, h, w) float, ``m_v * z_y``.
            attention_mask: (B, L) bool, False on padding; None if there is none.

        Returns:
            Logits (B, L, vocab_size).
        """
        tokens = self.embed(token_ids) + self.position[:, : token_ids.shape[1]]
        features = self.visual(visual)
        positions = _positions(features.shape[-2], features.shape[-1], features.shape[1], features.device)
        memory = (features + positions.to(features.dtype)).flatten(2).transpose(1, 2)
        padding = None if attention_mask is None else ~attention_mask
        return cast(Tensor, self.head(self.blocks(tokens, memory, tgt_key_padding_mask=padding)))


def _positions(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Sine and cosine positions (1, channels, height, width): half for rows, half for columns."""
    quarter = channels // 4
    rates = torch.exp(torch.arange(quarter, device=device) * (-math.log(1e4) / max(quarter - 1, 1)))
    rows = torch.arange(height, device=device)[None, :, None] * rates[:, None, None]
    columns = torch.arange(width, device=device)[None, None, :] * rates[:, None, None]
    rows, columns = rows.expand(-1, -1, width), columns.expand(-1, height, -1)
    parts = torch.cat([rows.sin(), rows.cos(), columns.sin(), columns.cos()])
    return F.pad(parts, (0, 0, 0, 0, 0, channels - parts.shape[0]))[None]


def noun_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy over the masked tokens, which supervises the mask m_v.

    Args:
        logits: (B, L, vocab_size), from ``NounPredictor``.
        labels: (B, L) int64, ``IGNORE`` where nothing was masked.

    Returns:
        The mean loss in nats (scalar; zero when nothing is masked) and the accuracy on the masked tokens (scalar
        without gradient; zero when nothing is masked).
    """
    wanted = labels != IGNORE
    count = wanted.sum().clamp(min=1)
    flat = logits.float().flatten(0, 1)
    loss = F.cross_entropy(flat, labels.flatten(), ignore_index=IGNORE, reduction="sum") / count
    accuracy = ((logits.argmax(-1) == labels) & wanted).sum() / count
    return loss, accuracy.detach()
