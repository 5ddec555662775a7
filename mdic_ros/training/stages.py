"""The training stages as `mdic train` runs them: YAML and data in, components of a bundle out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from diffusers import AutoencoderKL, ModelMixin
from pydantic import Field, PositiveInt, create_model
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mdic_ros.codec.bitstream import feature_grid
from mdic_ros.training.autoencoder import AutoencoderConfig, AutoencoderStage
from mdic_ros.training.bundling import component_folder, finish_bundle, store_in_half
from mdic_ros.training.captioner import CaptionCrops, CaptionerConfig, CaptionerStage, build_captioner
from mdic_ros.training.codec import PARTS, CodecConfig, CodecStage, build
from mdic_ros.training.config import ConfigError, Options, read_options
from mdic_ros.training.data import Pair, StereoCrops, foreign_batch, held_out_batch
from mdic_ros.training.history import StageRun, read_history, write_history
from mdic_ros.training.loop import CHECKPOINT, LoopConfig, Saved, Stage, run, start_processes
from mdic_ros.training.prior import PriorConfig, PriorStage
from mdic_ros.training.realism import RealismConfig, RealismStage
from mdic_ros.training.sources import Frame, TrainingData, captions_of
from mdic_ros.training.stream import Crops
from mdic_ros.training.tokenizer import build_tokenizer, sentences

__all__ = ["STAGES", "ConfigError", "StageConfig", "TrainingData", "finish", "train", "train_stage"]


class DataConfig(Options):
    """What to train on, under `data:`."""

    folders: tuple[str, ...] = ("train",)  #: under stereo/ of a training folder or a pack; recordings are in `train`
    hold_out: tuple[str, ...] = ()  #: drives to validate on
    height: PositiveInt = 256  #: most rows: larger images are shrunk to this when they are read
    scenes: tuple[str, ...] = ()  #: drives whose frames are unrelated: none is older than another, each weighs 1


class StageConfig:
    """The YAML of a stage: sections `loop`, `data`, and one named like the stage.

    Raises:
        ConfigError: an unknown option, or a value that it cannot have.
    """

    def __init__(self, stage: str, path: Path) -> None:
        kind = STAGES[stage]
        sections: dict[str, type[Options]] = {"loop": LoopConfig, "data": DataConfig, stage: kind.options}
        fields: dict[str, Any] = {name: (of, Field(default_factory=of)) for name, of in sections.items()}
        content: Any = read_options(path, create_model("StageYaml", __base__=Options, **fields))
        self.path = path
        self.loop: LoopConfig = content.loop
        self.data: DataConfig = content.data
        self.options: Any = getattr(content, stage)
        multiple = self.options.multiple
        if any(length % multiple for length in self.loop.size):
            raise ConfigError(
                f"{path}, loop: size is {list(self.loop.size)}, height and width must be multiples of {multiple}"
            )
        if self.loop.batch < kind.least_batch:
            raise ConfigError(f"{path}, loop: batch is {self.loop.batch}, this stage needs at least {kind.least_batch}")


def split(data: TrainingData, config: StageConfig, *, match: bool = False) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and those of the held-out drives."""
    hold_out = held_out_drives(config, data)
    pairs = data.pairs(config.data.folders, config.data.height, match=match)
    return [pair for pair in pairs if pair.drive not in hold_out], [pair for pair in pairs if pair.drive in hold_out]


def held_out_drives(config: StageConfig, data: TrainingData) -> list[str]:
    """The drives to validate on, which are not trained on: those of --hold-out, else those of the YAML.

    Raises:
        ConfigError: one that --hold-out names is not in the data; there is none; or none is left to train on.
    """
    drives = sorted({frame.drive for frame in data.frames if frame.folder in config.data.folders})
    if not drives:
        return []  # `TrainingData.pairs` says what is wrong
    if unknown := [name for name in data.hold_out if name not in drives]:
        raise ConfigError(f"--hold-out {unknown[0]}: {data.path} has no such drive; it has {', '.join(drives)}")
    found = [name for name in drives if name in (data.hold_out or config.data.hold_out)]
    if not found:
        named = f" ({config.path} names {', '.join(config.data.hold_out)})" if config.data.hold_out else ""
        raise ConfigError(
            f"no drive of {data.path} is held out to validate on{named}: name one of {', '.join(drives)} with "
            "--hold-out"
        )
    if found == drives:
        raise ConfigError(
            f"every drive of {data.path} is held out to validate on ({', '.join(drives)}), so none is left to train "
            "on: add recordings of another drive, or hold out fewer"
        )
    return found


def _training_frames(config: StageConfig, data: TrainingData) -> list[Frame]:
    hold_out = held_out_drives(config, data)
    return [frame for frame in data.frames if frame.folder in config.data.folders and frame.drive not in hold_out]


_HELD_OUT = "held_out.json"  #: in a run's folder: the drives that it validates on


def check_held_out(out: Path, hold_out: list[str]) -> None:
    """Checks that a run goes on with the drives it held out before: else it would validate on what it was trained on.

    Raises:
        ConfigError: the run in this folder began with other drives.
    """
    file = out / _HELD_OUT
    if not (out / CHECKPOINT).is_file() or not file.is_file():
        return
    before = json.loads(file.read_text())
    if before != hold_out:
        raise ConfigError(
            f"the run in {out} holds out {', '.join(before)}, this call {', '.join(hold_out)}: repeat --hold-out as it "
            "was, or choose another --out to start anew"
        )


def check_captions(config: StageConfig, data: TrainingData) -> None:
    """Checks that there are captions to train the captioner with and to validate it on, before anything is loaded.

    Raises:
        ConfigError: it has none, or their `source` and `name` are not those of the pairs.
    """
    frames = [frame for frame in data.frames if frame.folder in config.data.folders]
    told = {row["source"] for row in captions_of(frames, data.captions) if row["caption"]}
    hold_out = set(held_out_drives(config, data))
    for what, found in (("to train on", told - hold_out), ("to validate on", told & hold_out)):
        if not found:
            raise ConfigError(
                f"{data.path}: no pair {what} has a caption, which the captioner needs; write captions.jsonl beside "
                f"the data, source being a drive and name a file's (held out: {', '.join(sorted(hold_out))})"
            )


def _tokenizer(config: StageConfig, data: TrainingData, bundle: Path) -> PreTrainedTokenizerBase:
    """The bundle's tokenizer; if it has none yet it is built from the captions of what is trained on, and no others."""
    with start_processes().main_process_first():
        if not (bundle / "tokenizer").is_dir():
            captions = captions_of(_training_frames(config, data), data.captions)
            build_tokenizer(sentences(captions)).save_pretrained(bundle / "tokenizer")
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        bundle / "tokenizer", local_files_only=True, trust_remote_code=False
    )
    return tokenizer


def _crops(pairs: list[Pair], loop: LoopConfig) -> StereoCrops:
    return StereoCrops(pairs, loop.size, loop.batch)


def _autoencoder(config: StageConfig, data: TrainingData, bundle: Path, device: torch.device) -> tuple[Stage, Crops]:
    if (bundle / "unet").is_dir():
        raise ConfigError(
            f"{bundle} has more than an autoencoder, and its other parts fit the vae that is there: give a new --bundle"
        )
    pairs, held_out = split(data, config)
    return AutoencoderStage(config.options, held_out_batch(held_out), device), _crops(pairs, config.loop)


def _codec(config: StageConfig, data: TrainingData, bundle: Path, device: torch.device) -> tuple[Stage, Crops]:
    if not (bundle / "vae").is_dir():
        raise ConfigError(f"{bundle} has no vae: run `mdic train autoencoder` into it first")
    loop, tokenizer = config.loop, _tokenizer(config, data, bundle)
    vae = _part(AutoencoderKL, bundle, "vae")
    fresh = not all((bundle / name).is_dir() for name in PARTS)  # else: fine-tuning, or a run that goes on
    if fresh:
        parts = build(config.options, vae.config.latent_channels, len(tokenizer))
    else:
        parts = {name: _part(kind, bundle, name) for name, kind in PARTS.items()}
    parts["quantizer"].expect(loop.batch, *feature_grid(*loop.size), fresh=fresh)
    return _joint(CodecStage, config, data, vae, parts, tokenizer, device)


def _realism(config: StageConfig, data: TrainingData, bundle: Path, device: torch.device) -> tuple[Stage, Crops]:
    if not (bundle / "detail_refiner").is_dir():
        raise ConfigError(f"{bundle} has no detail_refiner: run `mdic train codec` into it first")
    parts = {name: _part(kind, bundle, name) for name, kind in PARTS.items()}
    vae = _part(AutoencoderKL, bundle, "vae")
    return _joint(RealismStage, config, data, vae, parts, _tokenizer(config, data, bundle), device)


def _part(kind: type[Any], bundle: Path, name: str) -> Any:
    folder = component_folder(bundle, name)
    options = {"local_files_only": True, "torch_dtype": torch.float32, "use_safetensors": True}
    if not issubclass(kind, ModelMixin):  # transformers'
        return kind.from_pretrained(folder, trust_remote_code=False, **options)
    part, info = kind.from_pretrained(folder, output_loading_info=True, **options)
    if missing := sorted(info["missing_keys"]):  # the library would go on with random numbers
        raise ConfigError(f"{bundle / name} is of another version, it has no {missing[0]}: train a new bundle")
    return part


def _joint(
    kind: type[CodecStage],
    config: StageConfig,
    data: TrainingData,
    vae: AutoencoderKL,
    parts: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
) -> tuple[Stage, Crops]:
    pairs, held_out = split(data, config, match=True)
    loop, options = config.loop, config.options
    seed = loop.seed + start_processes().process_index
    known = held_out_batch(held_out)
    foreign = foreign_batch(pairs, len(known.drives))
    stage = kind(options, vae, parts, tokenizer, known, foreign, device, seed)
    crops = StereoCrops(
        pairs,
        loop.size,
        loop.batch,
        stale=options.stale,
        unrectified=options.unrectified,
        joined=options.joined,
        scenes=config.data.scenes,
    )
    return stage, crops


def _captioner(config: StageConfig, data: TrainingData, bundle: Path, device: torch.device) -> tuple[Stage, Crops]:
    check_captions(config, data)
    pairs, held_out = split(data, config)
    captioner = build_captioner(_tokenizer(config, data, bundle), config.options, config.loop.size)
    captioner.model.to(device)
    crops = CaptionCrops(pairs, captioner, config.options, config.loop.batch)
    return CaptionerStage(captioner, held_out, config.options), crops


def _prior(config: StageConfig, data: TrainingData, bundle: Path, device: torch.device) -> tuple[Stage, Crops]:
    if not (bundle / "entropy_model").is_dir():
        raise ConfigError(f"{bundle} has no entropy_model: run `mdic train codec` into it first")
    pairs, held_out = split(data, config)
    return PriorStage(config.options, bundle, held_out_batch(held_out), device), _crops(pairs, config.loop)


@dataclass(frozen=True)
class _Kind:
    """A kind of stage: its options, and what makes it."""

    options: type[Options]
    build: Callable[[StageConfig, TrainingData, Path, torch.device], tuple[Stage, Crops]]
    least_batch: int = 1


#: In the order in which a bundle needs them; realism and prior are optional.
STAGES = {
    "autoencoder": _Kind(AutoencoderConfig, _autoencoder),
    "codec": _Kind(CodecConfig, _codec),
    "realism": _Kind(RealismConfig, _realism, least_batch=2),
    "captioner": _Kind(CaptionerConfig, _captioner),
    "prior": _Kind(PriorConfig, _prior),
}


def train_stage(
    stage: str, config: StageConfig, data: TrainingData, out: Path, bundle: Path, minutes: Callable[[], float | None]
) -> bool:
    """Trains one stage and writes its components into a bundle; goes on where a stopped run was.

    Args:
        stage: a key of `STAGES`.
        config: of this stage.
        data: what to train on.
        out: logs and checkpoint, see `loop.run`.
        bundle: folder of the model.
        minutes: called when the stage is ready to start; a number replaces the budget of the YAML.

    Returns:
        True if the budget is used up, False if the run was stopped.
    """
    processes = start_processes()
    hold_out = held_out_drives(config, data)
    check_held_out(out, hold_out)
    if processes.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        (out / _HELD_OUT).write_text(json.dumps(hold_out) + "\n")
    set_seed(config.loop.seed)
    saved = _history_writer(stage, config, data, out, bundle)
    built, crops = STAGES[stage].build(config, data, bundle, processes.device)
    if (budget := minutes()) is not None:
        config.loop.minutes, config.loop.steps = budget, 0
    return run(built, crops, config.loop, out, bundle, saved)


def _history_writer(stage: str, config: StageConfig, data: TrainingData, out: Path, bundle: Path) -> Saved:
    """What keeps the bundle's training.json up to date; a run that goes on changes its entry."""
    before = read_history(bundle)
    of_stage = [index for index, entry in enumerate(before) if entry.stage == stage]
    if of_stage and (out / CHECKPOINT).is_file():
        del before[of_stage[-1]]
    frames = _training_frames(config, data)
    drives = len({frame.drive for frame in frames})
    batch = config.loop.batch * config.loop.accumulation * start_processes().num_processes

    def saved(steps: int, minutes: float) -> None:
        entry = StageRun(stage, round(minutes, 2), steps, steps * batch, len(frames), drives)
        write_history(bundle, [*before, entry])

    return saved


def train(
    stage: str, config: Path, data: TrainingData, out: Path, bundle: Path, minutes: float | None = None
) -> tuple[str | None, bool]:
    """Trains one stage, see `train_stage`, and finishes the bundle if it has all components then.

    Returns:
        The bundle's fingerprint, or None while components are missing; and whether the stage is done: False if it was
        stopped.

    Raises:
        ConfigError: the YAML is wrong, or a stage that this one needs has not run.
        DatasetError: the data cannot be used.
    """
    done = train_stage(stage, StageConfig(stage, config), data, out, bundle, lambda: minutes)
    return finish(bundle), done


def finish(bundle: Path) -> str | None:
    """Stores the weights in half precision, and writes the index of a bundle that has all its components.

    Done after every stage, so that the next one sees the weights as they will be used, however often it is resumed.

    Returns:
        The fingerprint, or None while components are missing, and in processes that are not the main one.
    """
    fingerprint = None
    if start_processes().is_main_process:
        store_in_half(bundle)
        if all((bundle / name).is_dir() for name in ("vae", "unet", "captioner")):
            fingerprint = finish_bundle(bundle, bundle.resolve().name)
    start_processes().wait_for_everyone()
    return fingerprint
