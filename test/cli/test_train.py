"""mdic pack and mdic train, as far as the commands go."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mdic_ros.training.history import StageRun, read_history, write_history

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
    (entry,) = read_history(tmp_path / "m")
    assert (entry.stage, entry.steps, entry.crops, entry.pairs, entry.drives) == ("autoencoder", 2, 4, 2, 1)
    again = mdic(*asked, "--hold-out", "drive_a")  # goes on, though there is nothing left to do
    assert again.code == 0 and len(read_history(tmp_path / "m")) == 1
    other = mdic(*asked, "--hold-out", "drive_b")
    assert other.code == 1 and "holds out drive_a, this call drive_b" in other.err


def test_info_says_how_far_a_model_was_trained(mdic: Mdic, tiny_bundle: Path, tmp_path: Path) -> None:
    assert "how far it was trained is not known" in mdic("info", tiny_bundle).out
    bundle = shutil.copytree(tiny_bundle, tmp_path / "m")
    write_history(bundle, [StageRun(stage, 0.1, 2, 16, 20, 3) for stage in ("autoencoder", "codec")])
    told = mdic("info", bundle)
    assert told.code == 0
    assert "trained: autoencoder 0.1 min (2 steps), codec 0.1 min (2 steps); last on 20 pairs of 3 drives" in told.out
    assert "warning: hardly trained: its codec stage has seen 16 crops" in told.out
    (bundle / "training.json").write_text("{")
    broken = mdic("info", bundle)
    assert broken.code == 1 and "training.json is damaged" in broken.err


def test_a_wrong_yaml_is_a_sentence(mdic: Mdic, drives: Path, tmp_path: Path) -> None:
    file = tmp_path / "autoencoder.yaml"
    file.write_text("autoencoder: {vae: {norm_num_groups: 7}}")
    asked = ("train", "autoencoder", "--data", drives, "--bundle", tmp_path / "m", "--out", tmp_path / "o")
    result = mdic(*asked, "--config", file, "--hold-out", "drive_a")
    assert result.code == 1 and "error: " in result.err and "Traceback" not in result.err
    assert "autoencoder.yaml, autoencoder, vae: AutoencoderKL cannot be built of it" in result.err


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
