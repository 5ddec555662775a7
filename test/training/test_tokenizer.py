"""The small tokenizer: reproducible, complete, and readable by transformers alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from mdic_ros.training.tokenizer import SPECIAL_TOKENS, build_tokenizer, sentences

ROWS = [
    {"source": "drive_a", "name": "0", "caption": "a white van on a street", "tags": ["van", "street"]},
    {"source": "drive_a", "name": "1", "caption": "a white van on a street", "tags": ["trees"]},
]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(sentences(ROWS))


def test_each_sentence_once():
    assert list(sentences(ROWS)) == ["a white van on a street", "street", "trees", "van"]


def test_built_twice_is_the_same(tokenizer):
    assert build_tokenizer(sentences(ROWS)).get_vocab() == tokenizer.get_vocab()


def test_saved_and_read_back(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    read = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert read.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3, 4]
    ids, expected = (t("a white van", padding="max_length")["input_ids"] for t in (read, tokenizer))
    assert len(ids) == 32 and ids == expected
    assert len(read("a white van")["input_ids"]) == 5  # training words are one token each


@given(st.text(max_size=60))
def test_every_sentence_tokenises(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    assert tokenizer.unk_token_id not in ids or "<unk>" in text
