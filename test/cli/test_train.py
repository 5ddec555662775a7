"""mdic pack and mdic train, as far as the commands go."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Mdic = Callable[..., Any]


@pytest.fixture
def drives(pairs: Path, tmp_path: Path) -> Path:
    """A training folder with two drives of two pairs, without captions."""
    for drive in ("drive_a", "drive_b"):
        shutil.copytree(pairs, tmp_path / "data" / "stereo" / "train" / drive)
    return tmp_path / "data"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Two steps of a small run."""
    content = {
        "loop": {"steps": 2, "batch": 2, "size": [64, 128], "warmup_steps": 1, "mixed_precision": "fp32"},
    }
    path = tmp_path / "autoencoder.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_pack_says_that_captions_are_missing(mdic: Mdic, drives: Path, tmp_path: Path) -> None:
    result = mdic("pack", drives, tmp_path / "pairs.zip")
    assert result.code == 0 and "4 pairs of 2 drives, 0 captions" in result.err
    assert "warning: none of the pairs has a caption" in result.err
    (drives / "captions.jsonl").write_text('{"source": "drive_a", "name": "0", "caption": "a street"}\n')
    result = mdic("pack", drives, tmp_path / "pairs.zip", "--force")
    assert "warning: 3 pairs do not have a caption" in result.err
    assert mdic("pack", drives, tmp_path / "pairs.png").code == 2


def test_train_says_how_far_it_came(mdic: Mdic, drives: Path, config: Path, tmp_path: Path) -> None:
    run = ("train", "autoencoder", "--data", drives, "--bundle", tmp_path / "m", "--out", tmp_path / "o")
    asked = (*run, "--config", config)
    missing = mdic(*asked)
    assert missing.code == 1 and "name one of drive_a, drive_b with --hold-out" in missing.err
    unknown = mdic(*asked, "--hold-out", "drive_z")
    assert unknown.code == 1 and "no such drive; it has drive_a, drive_b" in unknown.err
    done = mdic(*asked, "--hold-out", "drive_a")
    assert done.code == 0, done.err
    assert "o: trained for 2 steps in" in done.err and "on the held-out drives psnr " in done.err
    assert "it cannot decode yet" in done.err and "whole" not in done.err
    other = mdic(*asked, "--hold-out", "drive_b")
    assert other.code == 1 and "holds out drive_a, this call drive_b" in other.err


def test_a_model_inside_a_model_is_noticed(mdic: Mdic, drives: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "my_model" / tiny_bundle.name)  # what cp -r does to a folder that exists
    result = mdic("train", "codec", "--data", drives, "--bundle", tmp_path / "my_model", "--out", tmp_path / "o")
    assert result.code == 2 and f"--bundle {tmp_path / 'my_model' / tiny_bundle.name}" in result.err


def test_training_that_diverges_is_one_message(
    mdic: Mdic, drives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mdic_ros.training.loop import DivergedError

    def diverge(*_: object) -> None:
        raise DivergedError("the loss was not finite in 10 steps in a row. Lower learning_rate")

    monkeypatch.setattr("mdic_ros.training.stages.train", diverge)
    result = mdic("train", "autoencoder", "--data", drives, "--bundle", tmp_path / "b", "--out", tmp_path / "o")
    assert result.code == 1 and "error: the loss was not finite in 10 steps in a row. Lower learning_rate" in result.err
