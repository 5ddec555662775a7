"""`mdic export`: a model gets its encoder as ONNX."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mdic_ros.codec import Bundle, Encoder
from mdic_ros.codec.bundle import write_index


def test_a_model_without_gets_it(mdic: Callable[..., Any], tiny_bundle: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_bundle, tmp_path / "model")
    shutil.rmtree(model / "encoder")
    write_index(model, "old")
    result = mdic("export", model)
    assert result.code == 0 and "has its encoder as ONNX" in result.err
    assert Encoder.from_pretrained(model).fingerprint == Bundle(tiny_bundle).fingerprint


def test_what_is_no_model_is_a_sentence(mdic: Callable[..., Any], tmp_path: Path) -> None:
    result = mdic("export", tmp_path)
    assert result.code == 1 and "is no bundle" in result.err and "Traceback" not in result.err
