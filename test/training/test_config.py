"""Training YAMLs: what is wrong is named, with what to write instead."""

from pathlib import Path

import pytest

from mdic_ros.training.config import ConfigError
from mdic_ros.training.stages import StageConfig


def read(tmp_path: Path, text: str) -> StageConfig:
    file = tmp_path / "autoencoder.yaml"
    file.write_text(text)
    return StageConfig("autoencoder", file)


def test_values_and_defaults(tmp_path):
    config = read(tmp_path, "loop: {minutes: 3, size: [64, 128], learning_rate: 1e-3, deterministic: true}\ndata:\n")
    assert (config.loop.minutes, config.loop.size, config.loop.learning_rate) == (3.0, (64, 128), 1e-3)
    assert config.loop.deterministic is True and config.loop.mixed_precision == "auto"
    assert config.data.folders == ("train",) and config.options.l1_weight == 0.1
    assert read(tmp_path, "").loop.batch == 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loop: {minuets: 3}", "autoencoder.yaml, loop: unknown option 'minuets'; did you mean minutes"),
        ("lop: {minutes: 3}", "unknown option 'lop'; did you mean loop"),
        ("codec: {features: 3}", "unknown option 'codec'; there are loop, data, autoencoder"),
        ("autoencoder: {xyz: 3}", "unknown option 'xyz'; there are vae, kl_weight"),
        ("loop: {batch: 2.5}", "batch is 2.5, it must be a whole number"),
        ("loop: {batch: true}", "batch is True, it must be a whole number"),
        ("loop: {batch: 0}", "batch is 0, it must be at least 1"),
        ("loop: {learning_rate: fast}", "learning_rate is 'fast', it must be a number"),
        ("loop: {minutes: -1}", "minutes is -1.0, it must be above 0"),
        ("loop: {minutes: .nan}", "minutes is nan"),
        ("loop: {ema_decay: 1}", "ema_decay is 1.0"),
        ("loop: {size: 128}", "size is 128, it must be a list"),
        ("loop: {size: [128]}", r"size is \[128\], it must be a height and a width"),
        ("loop: {size: [128, wide]}", r"size\[1\] is 'wide', it must be a whole number"),
        ("loop: {mixed_precision: no}", "mixed_precision is False, it must be text, so put it into quotes"),
        ("loop: {mixed_precision: bf8}", "must be one of auto, bf16, fp16, fp32"),
        ("data: {hold_out: drive_a}", "hold_out is 'drive_a', it must be a list"),
        ("autoencoder: {vae: 3}", "vae is 3, it must be a mapping"),
        ("loop: 3", "loop: expected options, found 3"),
        ("3", "expected sections"),
        ("loop: {", "is no YAML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        StageConfig("autoencoder", tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("stage", "text", "message"),
    [
        ("codec", "grids: ['1/2', '1']", "groups has 5 entries, it must have one per grid: 2"),
        ("codec", "rate_share: [0.5, 0.5]", "rate_share has 2 entries, it must have one per grid: 5"),
        ("realism", "soft_rate_weight: 0.1", "unknown option 'soft_rate_weight'"),  # the codec's alone
    ],
)
def test_options_of_the_one_or_the_other_stage(tmp_path, stage, text, message):
    file = tmp_path / f"{stage}.yaml"
    file.write_text(f"{stage}:\n  {text}\n")
    with pytest.raises(ConfigError, match=message):
        StageConfig(stage, file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate_share: [0.2, 0.2, 0.2, 0.2, 0.3]", r"rate_share is .*, it must be shares that sum to 1"),
        ("rate_share: [-0.2, 0.4, 0.2, 0.3, 0.3]", "it must be shares"),
        ("no_text: 1.5", "no_text is 1.5, it must be a share, 0 to 1"),
        ("{no_side: 0.6, foreign_side: 0.6}", "no_side and foreign_side are 0.6 and 0.6, more than 1 in sum"),
    ],
)
@pytest.mark.parametrize("stage", ["codec", "realism"])
def test_shares_that_cannot_be_are_named(tmp_path, stage, text, message):
    file = tmp_path / f"{stage}.yaml"
    file.write_text(f"{stage}:\n  {text}\n")
    with pytest.raises(ConfigError, match=message):
        StageConfig(stage, file)
