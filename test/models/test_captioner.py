"""The captioner at small size, and BLIP-2's own code path on a tiny folder of the same format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Blip2Config, Blip2ForConditionalGeneration, CLIPTextConfig

from mdic_ros.models.captioner import Captioner
from mdic_ros.training.captioner import CaptionerConfig, build_captioner, save_captioner
from mdic_ros.training.tokenizer import build_tokenizer

CAPTIONS = ["a dark road, trees", "a white van ahead"]
TINY = CaptionerConfig(hidden_size=32, heads=2, vision_layers=1, text_layers=1, dropout=0.0, label_smoothing=0.0)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(CAPTIONS)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(low, low + 60, (64, 128, 3), dtype=np.uint8) for low in (0, 190)]


def learn_by_heart(model, pixels, ids, labels, **options) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(100):
        loss = model(pixel_values=pixels, input_ids=ids, labels=labels, **options).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.fixture(scope="module")
def captioner(tokenizer, images):
    torch.manual_seed(0)
    captioner = build_captioner(tokenizer, TINY, (32, 64))
    pixels = torch.cat([captioner.pixel_values(image) for image in images])
    ids = tokenizer(CAPTIONS, padding=True, return_tensors="pt")["input_ids"]
    labels = ids.masked_fill(ids == tokenizer.pad_token_id, -100)
    learn_by_heart(captioner.model, pixels, ids, labels, interpolate_pos_encoding=True)
    return captioner


@pytest.fixture(scope="module")
def folder(captioner, tmp_path_factory):
    path = tmp_path_factory.mktemp("captioner")
    save_captioner(captioner, path)
    return path


def test_tells_what_it_sees(captioner, images):
    assert [captioner.caption(image) for image in images] == CAPTIONS
    assert captioner.caption(torch.from_numpy(images[1])) == CAPTIONS[1]


def test_any_size_and_read_only_arrays(captioner, images):
    large = np.repeat(np.repeat(images[1], 3, axis=0), 5, axis=1)[:-7, :-3]
    large.flags.writeable = False
    assert captioner.caption(large) == CAPTIONS[1]


@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((8, 8, 4), np.uint8)])
def test_other_arrays_are_refused(captioner, image):
    with pytest.raises(ValueError, match="H x W x 3 uint8"):
        captioner.caption(image)


def test_a_sentence_ends(captioner, tokenizer, images):
    short = Captioner(captioner.model, tokenizer, (32, 64), captioner.mean, captioner.std, max_tokens=2)
    assert [short.caption(image) for image in images] == ["a dark", "a white"]


def test_square_images_need_no_interpolation(tokenizer):
    assert not build_captioner(tokenizer, TINY, (32, 32)).interpolates
    assert build_captioner(tokenizer, TINY, (32, 64)).interpolates


def test_saved_and_read_back(folder, tokenizer, images):
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= {p.name for p in folder.iterdir()}
    read = Captioner.from_pretrained(folder, tokenizer)
    assert read.image_size == (32, 64) and read.interpolates
    assert read.model.dtype == torch.float32
    assert [read.caption(image) for image in images] == CAPTIONS


def test_the_folders_own_tokenizer_comes_first(folder, tokenizer, tmp_path, images):
    with pytest.raises(ValueError, match="no tokenizer"):
        Captioner.from_pretrained(folder)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tokenizer.save_pretrained(tmp_path)
    other = build_tokenizer(["something else"])
    assert Captioner.from_pretrained(tmp_path, other).caption(images[0]) == CAPTIONS[0]


def test_another_kind_of_model_is_refused(tmp_path):
    CLIPTextConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="not 'clip_text_model'"):
        Captioner.from_pretrained(tmp_path)


@pytest.fixture(scope="module")
def blip2_folder(images, tmp_path_factory) -> Path:
    """BLIP-2 with OPT as the Hub has it, in miniature: own tokenizer, image tokens, square images."""
    path = tmp_path_factory.mktemp("blip2")
    tokenizer = build_tokenizer(CAPTIONS)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Blip2Config(
        vision_config={**small, "image_size": 32, "patch_size": 16},
        qformer_config={**small, "vocab_size": 99, "encoder_hidden_size": 32},
        text_config={
            "model_type": "opt",
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "ffn_dim": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 64,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(0)
    model = Blip2ForConditionalGeneration(config)
    torch.nn.init.normal_(model.query_tokens, std=0.5)
    sight = Captioner(model, tokenizer, (32, 32), [0.5] * 3, [0.25] * 3)
    pixels = torch.cat([sight.pixel_values(image) for image in images])
    ids = tokenizer(["<image>" * 4 + caption for caption in CAPTIONS], padding=True, return_tensors="pt")["input_ids"]
    # The prompt that BLIP-2 makes for itself: image tokens, then the start of the sentence.
    ids[:, :5] = torch.tensor([config.image_token_id] * 4 + [tokenizer.bos_token_id])
    labels = ids.masked_fill((ids == tokenizer.pad_token_id) | (ids == config.image_token_id), -100)
    learn_by_heart(model, pixels, ids, labels)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    (path / "preprocessor_config.json").write_text(json.dumps(sight.preprocessing()))
    return path


def test_blip2_folder(blip2_folder, tokenizer, images):
    captioner = Captioner.from_pretrained(blip2_folder, tokenizer)
    assert isinstance(captioner.model, Blip2ForConditionalGeneration) and not captioner.interpolates
    assert "<image>" in captioner.tokenizer.get_vocab()  # its own tokenizer, not the bundle's
    assert [captioner.caption(image) for image in images] == CAPTIONS
