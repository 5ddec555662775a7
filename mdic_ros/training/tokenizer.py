"""Builds the small tokenizer of a bundle from the training captions.

The result is transformers' own ``CLIPTokenizer``: lower-cased byte-level byte-pair encoding, as in Stable
Diffusion, with a vocabulary small enough for a text encoder trained from scratch. All 256 bytes are in the
vocabulary, so any sentence has tokens; words of the training captions are one token
each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

SPECIAL_TOKENS = ("<pad>", "<bos>", "<unk>", "<eos>", "<mask>")
"""In the order of their ids; ``<eos>`` is not 2: ``CLIPTextModel`` takes 2 for a legacy configuration."""

END_OF_WORD = "</w>"


def sentences(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Every distinct caption and tag once, sorted: near-duplicate frames must not dominate the merges."""
    found: set[str] = set()
    for row in rows:
        found.add(row["caption"])
        found.update(row["tags"])
    yield from sorted(found)


def build_tokenizer(texts: Iterable[str], vocab_size: int = 1200, max_length: int = 32) -> CLIPTokenizer:
    """Trains byte-level BPE with CLIP's normalisation on ``texts`` and returns it as a ``CLIPTokenizer``.

    Args:
        texts: Sentences; the same sentences give the same tokenizer.
        vocab_size: Upper bound on the vocabulary. 517 entries are taken by special tokens and bytes.
        max_length: ``model_max_length`` of the tokenizer: what ``padding="max_length"`` pads to.

    Returns:
        A tokenizer with ``<pad> <bos> <unk> <eos> <mask>`` as ids 0 to 4. ``save_pretrained(folder)`` writes
        ``tokenizer.json`` and ``tokenizer_config.json``, which ``AutoTokenizer.from_pretrained`` reads.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    roles = ("pad_token", "bos_token", "unk_token", "eos_token", "mask_token")
    names = dict(zip(roles, SPECIAL_TOKENS, strict=True))
    clip = CLIPTokenizer(vocab={token: i for i, token in enumerate(SPECIAL_TOKENS)}, merges=[], **names)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # Listed as special to the trainer: it then keeps every byte in both forms, also those the texts lack, and
    # numbers them in this order (its own numbering of word-final letters changes from run to run, and ties go
    # by number).
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL_TOKENS, *letters, *(letter + END_OF_WORD for letter in letters)],
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    trained = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    # Train through CLIP's own normaliser and word splitter, so that training and use see the same words.
    trained.normalizer = clip.backend_tokenizer.normalizer
    trained.pre_tokenizer = clip.backend_tokenizer.pre_tokenizer
    trained.train_from_iterator(texts, trainer)

    learned = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in learned["merges"]]
    return CLIPTokenizer(vocab=learned["vocab"], merges=merges, model_max_length=max_length, **names)
