"""The training stages as `mdic train` runs them: YAML and data in, components of a bundle out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mdic_ros.training.autoencoder import AutoencoderConfig, AutoencoderStage
from mdic_ros.training.bundling import finish_bundle
from mdic_ros.training.captioner import CaptionCrops, CaptionerConfig, CaptionerStage, build_captioner
from mdic_ros.training.codec import CodecConfig, CodecStage
from mdic_ros.training.data import Pair, StereoCrops, held_out_batch, load_pairs
from mdic_ros.training.loop import LoopConfig, run
from mdic_ros.training.prior import PriorConfig, PriorStage
from mdic_ros.training.tokenizer import build_tokenizer, read_captions, sentences


class ConfigError(ValueError):
    """A training YAML with an unknown or missing option."""


@dataclass
class DataConfig:
    """What to train on, under `data:`."""

    folders: tuple[str, ...] = ("train",)
    hold_out: tuple[str, ...] = ()


def read_config(path: Path, kind: type[Any], section: str) -> Any:
    """One section of a YAML file as a dataclass; absent = all defaults.

    Raises:
        ConfigError: no YAML mapping, or an option that the dataclass does not have.
    """
    try:
        content = yaml.safe_load(path.read_text()) or {}
        options = {k: tuple(v) if isinstance(v, list) else v for k, v in content.get(section, {}).items()}
        return kind(**options)
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        raise ConfigError(f"{path}, {section}: {error}") from error


def _pairs(config: Path, data: Path) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and those of the held-out drives."""
    options: DataConfig = read_config(config, DataConfig, "data")
    pairs = load_pairs(data, list(options.folders), [])
    training = [pair for pair in pairs if pair.drive not in options.hold_out]
    held_out = [pair for pair in pairs if pair.drive in options.hold_out]
    if not training or not held_out:
        raise ConfigError(f"{config}, data: hold_out must name at least one drive of the data, but not all")
    return training, held_out


def _tokenizer(data: Path, bundle: Path) -> PreTrainedTokenizerBase:
    """The bundle's tokenizer, built from the captions of the data if it has none yet."""
    if not (bundle / "tokenizer").is_dir():
        build_tokenizer(sentences(read_captions(data / "captions.jsonl"))).save_pretrained(bundle / "tokenizer")
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(bundle / "tokenizer", local_files_only=True)
    return tokenizer


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _autoencoder(config: Path, data: Path, out: Path, bundle: Path, loop: LoopConfig) -> None:
    pairs, held_out = _pairs(config, data)
    options = read_config(config, AutoencoderConfig, "autoencoder")
    stage = AutoencoderStage(options, held_out_batch(held_out), _device())
    run(stage, StereoCrops(pairs, loop.size, loop.batch, loop.seed), loop, out, bundle)


def _codec(config: Path, data: Path, out: Path, bundle: Path, loop: LoopConfig) -> None:
    if not (bundle / "vae").is_dir():
        raise ConfigError(f"{bundle} has no vae: run `mdic train autoencoder` into it first")
    pairs, held_out = _pairs(config, data)
    tokenizer = _tokenizer(data, bundle)
    vae = AutoencoderKL.from_pretrained(bundle / "vae", local_files_only=True, torch_dtype=torch.float32)
    options = read_config(config, CodecConfig, "codec")
    validation = held_out_batch(held_out)
    stage = CodecStage(options, vae, tokenizer, validation, _device(), loop.batch, loop.size, loop.seed)
    run(stage, StereoCrops(pairs, loop.size, loop.batch, loop.seed), loop, out, bundle)


def _captioner(config: Path, data: Path, out: Path, bundle: Path, loop: LoopConfig) -> None:
    pairs, held_out = _pairs(config, data)
    options = read_config(config, CaptionerConfig, "captioner")
    torch.manual_seed(loop.seed)
    captioner = build_captioner(_tokenizer(data, bundle), options, loop.size)
    captioner.model.to(_device())
    batches = CaptionCrops(pairs, captioner, options, loop.batch, loop.seed)
    run(CaptionerStage(captioner, held_out, options), batches, loop, out, bundle)


def _prior(config: Path, data: Path, out: Path, bundle: Path, loop: LoopConfig) -> None:
    if not (bundle / "entropy_model").is_dir():
        raise ConfigError(f"{bundle} has no entropy_model: run `mdic train codec` into it first")
    pairs, held_out = _pairs(config, data)
    stage = PriorStage(read_config(config, PriorConfig, "prior"), bundle, held_out_batch(held_out), _device())
    run(stage, StereoCrops(pairs, loop.size, loop.batch, loop.seed), loop, out, bundle)


STAGES: dict[str, Callable[[Path, Path, Path, Path, LoopConfig], None]] = {
    "autoencoder": _autoencoder,
    "codec": _codec,
    "captioner": _captioner,
    "prior": _prior,
}


def train(stage: str, config: Path, data: Path, out: Path, bundle: Path, minutes: float | None = None) -> str | None:
    """Trains one stage and writes its components into a bundle; goes on where a stopped run was.

    Args:
        stage: a key of `STAGES`; run them in that order; the last is optional.
        config: YAML, see config/train/.
        data: folder with captions.jsonl and stereo/<folder>/<drive>/{left,right}.
        out: logs and checkpoint.
        bundle: folder of the model; its name becomes the model id.
        minutes: overrides the wall-clock budget of the YAML.

    Returns:
        The bundle's fingerprint once all its components are there, else None.
    """
    loop: LoopConfig = read_config(config, LoopConfig, "loop")
    if minutes is not None:
        loop.minutes = minutes
    STAGES[stage](config, data, out, bundle, loop)
    if not all((bundle / name).is_dir() for name in ("vae", "unet", "captioner")):
        return None
    return finish_bundle(bundle, bundle.resolve().name)
