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
        ("autoencoder: {xyz: 3}", "unknown option 'xyz'; there are vae, kl_weight, l1_weight"),
        ("loop: {1: 2}", "loop: unknown option '1'; there are minutes"),
        ("loop: {batch: 2.5}", "batch is 2.5, it must be a whole number"),
        ("loop: {batch: true}", "batch is True, it must be a whole number"),
        ("loop: {batch: 0}", "batch is 0, it must be greater than 0"),
        ("loop: {learning_rate: fast}", "learning_rate is 'fast', it must be a number"),
        ("loop: {minutes: -1}", "minutes is -1, it must be greater than 0"),
        ("loop: {minutes: .nan}", "minutes is nan, it must be a finite number"),
        ("loop: {ema_decay: 1}", "ema_decay is 1, it must be less than 1"),
        ("loop: {size: 128}", "size is 128, it must be a list"),
        ("loop: {size: [128]}", r"size is \[128\], it has too few entries"),
        ("loop: {size: [128, wide]}", r"size\[1\] is 'wide', it must be a whole number"),
        ("loop: {mixed_precision: no}", "mixed_precision is False, it must be 'auto', 'bf16'"),
        ("loop: {mixed_precision: bf8}", "mixed_precision is 'bf8', it must be 'auto', 'bf16', 'fp16' or 'fp32'"),
        ("data: {hold_out: drive_a}", "hold_out is 'drive_a', it must be a list"),
        ("data: {hold_out: [0005]}", r"hold_out\[0\] is 5, it must be text, so put it into quotes"),
        ("loop: {size: [100, 128]}", r"size is \[100, 128\], height and width must be multiples of 8"),
        ("autoencoder: {vae: 3}", "vae is 3, it must be a mapping"),
        ("autoencoder: {vae: {latent_chanels: 4}}", "autoencoder, vae: unknown option .* did you mean latent_channels"),
        ("autoencoder: {vae: {norm_num_groups: 7}}", "autoencoder, vae: AutoencoderKL cannot be built of it: .*7"),
        ("autoencoder: {vae: {in_channels: 3, out_channels: 3}}", "vae: its latents are 1 times smaller"),
        ("autoencoder: {vae: {in_channels: 4}}", "vae: in_channels must be 3"),
        ("autoencoder: {vae: {in_channels: 12, out_channels: 3}}", "in_channels and out_channels must be the same"),
        ("loop: 3", "loop is 3, it must be a mapping of options"),
        ("3", "expected loop, data, autoencoder, found 3"),
        ("loop: {", "is no YAML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


def test_every_mistake_has_a_line(tmp_path):
    with pytest.raises(ConfigError) as error:
        read(tmp_path, "loop: {batch: 0, minuets: 3}\ndata: {height: tall}")
    assert [line.partition("yaml, ")[2] for line in str(error.value).splitlines()] == [
        "loop: batch is 0, it must be greater than 0",
        "loop: unknown option 'minuets'; did you mean minutes?",
        "data: height is 'tall', it must be a whole number",
    ]


def test_numbers_without_a_dot_are_numbers_at_any_depth(tmp_path):
    vae = "{in_channels: 48, out_channels: 48, block_out_channels: [32, 32], norm_num_groups: 8, scaling_factor: 5e-1, "
    vae += "down_block_types: [DownEncoderBlock2D, DownEncoderBlock2D], "
    vae += "up_block_types: [UpDecoderBlock2D, UpDecoderBlock2D]}"
    options = read(tmp_path, f"autoencoder: {{vae: {vae}}}").options
    assert options.vae["scaling_factor"] == 0.5 and options.vae["block_out_channels"] == (32, 32)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        StageConfig("autoencoder", tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("stage", "text", "message"),
    [
        ("codec", "grids: ['1/2', '1']", "groups has 5 entries, it must have one per grid: 2"),
        ("codec", "rate_share: [0.5, 0.5]", "rate_share has 2 entries, it must have one per grid: 5"),
        ("codec", "grids: [1/4, 1/2, 3/4, 1, 1]", r"grids\[3\] is 1, it must be '1/4', '1/2', '3/4' or '1'"),
        ("codec", "channels: 100", "codec: channels is 100, it must be a multiple of 8"),
        ("codec", "unet: {in_channels: 2}", "codec, unet: unknown option 'in_channels'"),
        ("codec", "prior: {num_heads: 3}", "codec, prior: EntropyModel cannot be built of it: .*num_heads"),
        ("codec", "refiner: {patches: 3}", "codec, refiner: unknown option 'patches'; did you mean patch"),
        ("codec", "groups: [9, 2, 2, 2, 2]", "codec: the networks cannot be built .*groups are 1, 2 or 4"),
        ("captioner", "heads: 3", "captioner: hidden_size is 128, it must be a multiple of heads, 3"),
        ("prior", "dropout: 2", "prior: dropout is 2, it must be less than or equal to 1"),
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
        ("rate_share: [-0.2, 0.4, 0.2, 0.3, 0.3]", r"rate_share\[0\] is -0.2, it must be greater than or equal to 0"),
        ("no_text: 1.5", "no_text is 1.5, it must be less than or equal to 1"),
        ("{no_side: 0.6, foreign_side: 0.6}", "no_side and foreign_side are 0.6 and 0.6, more than 1 in sum"),
    ],
)
@pytest.mark.parametrize("stage", ["codec", "realism"])
def test_shares_that_cannot_be_are_named(tmp_path, stage, text, message):
    file = tmp_path / f"{stage}.yaml"
    file.write_text(f"{stage}:\n  {text}\n")
    with pytest.raises(ConfigError, match=message):
        StageConfig(stage, file)
