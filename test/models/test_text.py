"""Text encoding and the masked nouns of the mask's supervision."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from mdic_ros.models.text import IGNORE, NounPredictor, encode_text, find_nouns, mask_nouns, noun_loss
from mdic_ros.training.tokenizer import build_tokenizer

SENTENCES = [
    "a red car and a white van on a city street with trees",
    "a cyclist beside rail tracks with a traffic light and parked cars",
    "two people walking by a brick wall",
]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(SENTENCES)


@pytest.fixture(scope="module")
def text_encoder(tokenizer):
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        projection_dim=32,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config).eval()


@torch.no_grad()
def test_encode_text_is_padded_and_tells_sentences_apart(tokenizer, text_encoder):
    z_text = encode_text(tokenizer, text_encoder, ["a red car", "a white van", ""])
    assert z_text.shape == (3, 32, 32)
    assert not torch.allclose(z_text[0], z_text[1])
    again = encode_text(tokenizer, text_encoder, ["a red car"])
    torch.testing.assert_close(again[0], z_text[0])


@torch.no_grad()
def test_encode_text_cuts_long_sentences_and_takes_a_length(tokenizer, text_encoder):
    assert encode_text(tokenizer, text_encoder, ["car " * 100]).shape == (1, 32, 32)
    assert encode_text(tokenizer, text_encoder, ["car"], max_length=12).shape == (1, 12, 32)


@torch.no_grad()
def test_encode_text_with_a_tokenizer_of_stable_diffusions_kind(tmp_path, text_encoder):
    # Stable Diffusion's tokenizer: other special tokens, no mask token, padded with the end token to 77.
    words = ["<|startoftext|>", "<|endoftext|>", *"abcr", *(letter + "</w>" for letter in "abcr")]
    vocab = {word: i for i, word in enumerate(words)}
    CLIPTokenizer(vocab, [], model_max_length=77).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    z_text = encode_text(tokenizer, text_encoder, ["a car"])
    assert z_text.shape == (1, 32, 32)  # what the text encoder has positions for
    masked = mask_nouns(tokenizer, ["a car"], [["car"]])
    assert masked.token_ids.shape == (1, 77)
    assert (masked.labels != IGNORE).sum() == 3


@pytest.mark.parametrize(
    ("caption", "nouns", "found"),
    [
        ("a red car and Trees", ["tree", "red car", "car"], ["red car", "Trees"]),
        ("traffic lights, a light and a carpet", ["traffic light", "car"], ["traffic lights"]),
        ("bushes by houses on grass", ["bush", "houses", "grass"], ["bushes", "houses", "grass"]),
        ("a tree lined street", ["trees", "tram"], ["tree"]),
        ("", ["car"], []),
    ],
)
def test_find_nouns(caption, nouns, found):
    assert [caption[start:end] for start, end in find_nouns(caption, nouns)] == found


def test_mask_nouns_hides_the_nouns_and_nothing_else(tokenizer):
    caption = SENTENCES[1]
    masked = mask_nouns(tokenizer, [caption, "nothing to see"], [["rail tracks", "cyclist", "tram"], ["car"]])
    hidden = masked.labels != IGNORE
    assert tokenizer.decode(masked.labels[0][hidden[0]]) == "cyclist rail tracks"
    assert (masked.token_ids[hidden] == tokenizer.mask_token_id).all()
    assert not hidden[1].any()
    whole = torch.where(hidden, masked.labels, masked.token_ids)
    assert whole[0, masked.attention_mask[0]].tolist() == tokenizer(caption)["input_ids"]


def test_mask_nouns_limit_and_default_list(tokenizer):
    one = mask_nouns(tokenizer, [SENTENCES[0]], max_nouns=1)
    assert tokenizer.decode(one.labels[one.labels != IGNORE]) == "car"
    some = mask_nouns(tokenizer, [SENTENCES[0]], [[]])
    assert tokenizer.decode(some.labels[some.labels != IGNORE]) == "car van street trees"
    with pytest.raises(ValueError, match="2 captions"):
        mask_nouns(tokenizer, SENTENCES[:2], [["car"]])


def test_noun_predictor_learns_from_what_the_mask_lets_through(tokenizer):
    """Same sentence, two pictures: only the visual tokens tell the noun, so the mask gets a gradient."""
    torch.manual_seed(0)
    masked = mask_nouns(tokenizer, ["a car", "a van"], [["car"], ["van"]])
    assert torch.equal(masked.token_ids[0], masked.token_ids[1])
    z_y = torch.randn(2, 4, 8, 16)
    m_v = torch.ones(2, 1, 8, 16, requires_grad=True)
    predictor = NounPredictor(len(tokenizer), dim=32, heads=2, layers=1)
    optimizer = torch.optim.AdamW(predictor.parameters(), lr=3e-3)
    for _ in range(60):
        logits = predictor(masked.token_ids, m_v * z_y, masked.attention_mask)
        loss, accuracy = noun_loss(logits, masked.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert accuracy == 1 and loss < 0.3
    assert m_v.grad is not None and m_v.grad.abs().sum() > 0
    closed, share = noun_loss(predictor(masked.token_ids, 0 * z_y, masked.attention_mask), masked.labels)
    assert closed > loss and share <= 0.5


def test_noun_loss_without_nouns_is_zero(tokenizer):
    masked = mask_nouns(tokenizer, ["hello"], [["car"]])
    predictor = NounPredictor(len(tokenizer), dim=32, heads=2, layers=1)
    logits = predictor(masked.token_ids, torch.zeros(1, 4, 3, 5), masked.attention_mask)
    loss, accuracy = noun_loss(logits, masked.labels)
    assert loss == 0 and accuracy == 0
    loss.backward()
