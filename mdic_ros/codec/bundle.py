"""A bundle: one model as a folder in diffusers' layout, with digests of its files and a fingerprint over them.

`model_index.json` names the class of every component and the SHA-256 of every file. The fingerprint is the SHA-256 of
that list, so the robot, which has only its half of the files, knows the fingerprint of the whole; files that are loaded
are checked against their digests. Only safetensors and JSON are read: nothing is unpickled, nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers import ModelMixin
from torch import nn

from mdic_ros.models.captioner import Captioner
from mdic_ros.resources import resource

transformers.utils.logging.disable_progress_bar()  # small files; a bar per component would only scroll the terminal

INDEX = "model_index.json"

#: The classes a component may have; a bundle cannot make us import anything else.
CLASSES = {
    "vae": {"diffusers.AutoencoderKL"},
    "hyper_align": {"mdic_ros.models.hyper_align.HyperAlign"},
    "hyper_align_side": {"mdic_ros.models.hyper_align.HyperAlign"},
    "quantizer": {"mdic_ros.models.quantizer.MultiScaleQuantizer"},
    "entropy_model": {"mdic_ros.models.entropy_model.EntropyModel"},
    "mask_generator": {"mdic_ros.models.mask_generator.MaskGenerator"},
    "side_alignment": {"mdic_ros.models.side_alignment.SideAlignment"},
    "side_fusion": {"mdic_ros.models.side_fusion.SideFusion"},
    "unet": {"diffusers.UNet2DConditionModel"},
    "detail_refiner": {"mdic_ros.models.detail_refiner.DetailRefiner"},
    "text_encoder": {"transformers.CLIPTextModel"},
    "tokenizer": {"transformers.CLIPTokenizer"},
    "captioner": {"mdic_ros.models.captioner.Captioner"},
    "scheduler": {"diffusers.DDIMScheduler"},
}

ROBOT = ("vae", "hyper_align", "quantizer", "entropy_model")
WORKSTATION = tuple(CLASSES)


class BundleError(ValueError):
    """A folder that is not a whole, undamaged bundle. The message names the file and what to do."""


def default_bundle() -> Path:
    """Folder of the bundle that ships with the package, `models/mdic_tiny`."""
    return resource("models/mdic_tiny")


class Bundle:
    """A bundle on disk: its names, and its components on demand.

    Args:
        path: folder with a `model_index.json`; None = the shipped bundle.

    Raises:
        BundleError: no such folder, or its index is not one.
    """

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self.path = Path(path) if path else default_bundle()
        index = self.path / INDEX
        if not index.is_file():
            raise BundleError(f"{self.path} is no bundle: it has no {INDEX}")
        try:
            content = json.loads(index.read_text())
            self.model_id: str = content["model_id"]
            self.guidance = float(content.get("guidance_scale", 1.0))
            self.digests: dict[str, str] = dict(content["sha256"])
            self.classes = {name: ".".join(content[name]) for name in CLASSES if name in content}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{index} is damaged: {error!r}") from error
        for name, found in self.classes.items():
            if found not in CLASSES[name]:
                raise BundleError(f"{index}: {name} cannot be a {found}")
        self.fingerprint = fingerprint(self.digests)

    def check(self, component: str) -> Path:
        """Folder of a component whose files are what the index says.

        Raises:
            BundleError: a file is missing or another one, or the bundle has no such component.
        """
        names = [name for name in self.digests if name.startswith(f"{component}/")]
        if component not in self.classes or not names:
            raise BundleError(f"{self.path} has no {component}")
        for name in names:
            file = self.path / name
            if ".." in Path(name).parts or not file.is_file():
                raise BundleError(f"{file} is missing: copy the bundle again, whole")
            if sha256(file) != self.digests[name]:
                raise BundleError(f"{file} is not the file that {INDEX} lists: copy the bundle again")
        return self.path / component

    def load(self, component: str, device: str | torch.device = "cpu") -> Any:
        """One component on a device, in float32 and evaluation mode.

        Raises:
            BundleError: see `check`; also if the files do not fit the class.
        """
        folder = self.check(component)
        module, name = self.classes[component].rsplit(".", 1)
        try:
            if component == "captioner":
                return Captioner.from_pretrained(folder, self.load("tokenizer"), device)
            kind = getattr(importlib.import_module(module), name)
            options: dict[str, Any] = {"local_files_only": True}
            if issubclass(kind, nn.Module):
                options["use_safetensors"] = True
                if component != "entropy_model":  # evaluated exactly, so its weights stay as they are stored
                    options["torch_dtype" if module != "transformers" else "dtype"] = torch.float32
            if issubclass(kind, ModelMixin):
                part, info = kind.from_pretrained(folder, output_loading_info=True, **options)
                if missing := sorted(info["missing_keys"]):  # the library would go on with random numbers
                    raise BundleError(f"{folder} is of another version of {name}: it has no {missing[0]}")
            else:
                part = kind.from_pretrained(folder, **options)
        except BundleError:
            raise
        except Exception as error:  # libraries raise all kinds on files that do not fit
            raise BundleError(f"{folder} cannot be loaded as a {name}: {error}") from error
        if isinstance(part, nn.Module):
            part = part.to(device).eval().requires_grad_(False)
        return part


def sha256(file: Path) -> str:
    """SHA-256 of a file, hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(digests: Mapping[str, str]) -> str:
    """SHA-256, hex, over the sorted list of file names and digests."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def write_index(path: Path, model_id: str, *, guidance_scale: float = 1.0) -> str:
    """Makes a bundle of the component folders under a path: writes `model_index.json`.

    Args:
        path: holds one folder per component.
        model_id: name of the model, as StreamInfo and reports show it.
        guidance_scale: classifier-free guidance of the denoiser; 1 = none (the paper's model uses 3).

    Returns:
        The fingerprint, 64 hex digits.
    """
    components = [name for name in CLASSES if (path / name).is_dir()]
    digests = {
        file.relative_to(path).as_posix(): sha256(file)
        for name in components
        for file in sorted((path / name).rglob("*"))
        if file.is_file()
    }
    index: dict[str, Any] = {"_class_name": "MDIC", "model_id": model_id, "guidance_scale": guidance_scale}
    for name in components:
        (known,) = CLASSES[name]
        index[name] = known.rsplit(".", 1)
    index["sha256"] = digests
    (path / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    return fingerprint(digests)
