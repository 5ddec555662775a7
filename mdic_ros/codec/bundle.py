"""A bundle: one model as a folder in diffusers' layout, with a digest of every file and a fingerprint.

`model_index.json` names the class of every component and the SHA-256 of every file. A bundle is exactly these files:
libraries look for further ones by name (an index file with shards of other weights, code), so a folder that holds a
file that is not listed is refused. Files are checked against their digests before they are read. Only safetensors,
JSON and ONNX are read: nothing is unpickled, nothing is downloaded, no code comes with a model.

The fingerprint covers the files that decide what the bytes of a packet mean: see `FINGERPRINTED`. It is computed from
the index alone, so that a robot that has only its half of the files knows the fingerprint of the whole.

This module needs no PyTorch. `mdic_ros.codec.components` loads the components that do.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

from mdic_ros.errors import MdicError
from mdic_ros.resources import resource

INDEX = "model_index.json"

#: What a model may be called: it stands in messages, reports and names of files.
MODEL_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: Library and class of each component, as the index names them; a bundle cannot make us import anything else.
CLASSES = {
    "vae": ("diffusers", "AutoencoderKL"),
    "hyper_align": ("mdic_ros", "HyperAlign"),
    "hyper_align_side": ("mdic_ros", "HyperAlign"),
    "quantizer": ("mdic_ros", "MultiScaleQuantizer"),
    "encoder": ("onnxruntime", "InferenceSession"),
    "entropy_model": ("mdic_ros", "EntropyModel"),
    "mask_generator": ("mdic_ros", "MaskGenerator"),
    "side_alignment": ("mdic_ros", "SideAlignment"),
    "side_fusion": ("mdic_ros", "SideFusion"),
    "unet": ("diffusers", "UNet2DConditionModel"),
    "detail_refiner": ("mdic_ros", "DetailRefiner"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "captioner": ("mdic_ros", "Captioner"),
    "scheduler": ("diffusers", "DDIMScheduler"),
}

#: What the robot reads.
ROBOT = ("encoder", "entropy_model")
#: What `encoder` is made of: one ONNX graph that does what these do in turn.
ENCODER_SOURCES = ("vae", "hyper_align", "quantizer")
#: What the workstation reads: `hyper_align` measures rows there.
WORKSTATION = tuple(name for name in CLASSES if name != "encoder")
#: What decides which tokens the bytes stand for, and which picture the tokens stand for. Not the encoder's networks,
#: which may choose other tokens and still be understood, and not the captioner, which only makes an input.
FINGERPRINTED = tuple(name for name in CLASSES if name not in ("hyper_align", "encoder", "captioner"))

#: Files at the top of the folder that need not be listed, since no loader reads them. The same holds for names that
#: begin with a dot, which Git and file managers leave there (.git, .gitattributes, .DS_Store). Inside a component's
#: folder every file must be listed.
UNLISTED = (INDEX, "training.json", "README.md", "LICENSE")


class BundleError(MdicError):
    """A folder that is not a whole, undamaged bundle. The message names the file and what to do."""


def default_bundle() -> Path:
    """Folder of the bundle that ships with the package, `models/mdic_tiny`."""
    return resource("models/mdic_tiny")


class Bundle:
    """A bundle on disk: its names, its digests, its fingerprint.

    Folders of components that are not needed may be missing. Listed files may be symbolic links, as a symlinked
    install makes them, since their content is checked; folders may not.

    Args:
        path: folder with a `model_index.json`; None = the shipped bundle.

    Attributes:
        path: the folder.
        model_id: name of the model.
        guidance: classifier-free guidance of the denoiser, 1 = none.
        digests: SHA-256 in hex by file, names relative to the folder with "/".
        components: names of the components that the index lists.
        fingerprint: 64 hex digits.

    Raises:
        BundleError: no such folder, its index is not one, or the folder holds a file that the index does not list.
    """

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self.path = Path(path) if path else default_bundle()
        index = self.path / INDEX
        if not index.is_file():
            raise BundleError(f"{self.path} is no bundle: it has no {INDEX}")
        try:
            content = json.loads(index.read_text(encoding="utf-8"))
            self.model_id: str = content["model_id"]
            self.guidance = float(content.get("guidance_scale", 1.0))
            self.digests: dict[str, str] = dict(content["sha256"])
            classes = {name: content[name] for name in CLASSES if name in content}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BundleError(f"{index} is damaged: {error!r}") from error
        self.components = tuple(classes)
        for problem in (*self._problems_of_names(classes), *self._problems_of_files()):
            raise BundleError(problem)
        self.fingerprint = fingerprint(self.digests)

    def _problems_of_names(self, classes: Mapping[str, Any]) -> Iterator[str]:
        """What is wrong with the names in the index, each as a sentence."""
        index = self.path / INDEX
        if not (isinstance(self.model_id, str) and MODEL_ID.fullmatch(self.model_id)):
            yield f"{index}: a model_id is 1 to 64 letters, digits, dots, dashes and underscores"
        if not math.isfinite(self.guidance):
            yield f"{index}: guidance_scale must be a number"
        for name, found in classes.items():
            # Of the library only the package: modules inside it move from version to version.
            library, kind = CLASSES[name]
            if not (isinstance(found, list) and found) or [str(found[0]).split(".")[0], *found[1:]] != [library, kind]:
                yield f"{index}: {name} cannot be a {found}"

    def _problems_of_files(self) -> Iterator[str]:
        """What is wrong with the files that are listed or present, each as a sentence."""
        index = self.path / INDEX
        for name, digest in self.digests.items():
            if not _is_listed_name(name, self.components):
                yield f"{index} lists {name!r}, which is no file of a component's folder"
            if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
                yield f"{index}: the digest of {name} is no SHA-256"
        for name in _files(self.path):
            if name not in self.digests:
                file = self.path / name
                yield f"{file} is not listed in {INDEX}, and a bundle is exactly its listed files: remove it"

    def check(self, component: str) -> Path:
        """Folder of a component whose files are what the index says.

        Raises:
            BundleError: a file is missing or another one, or the bundle has no such component.
        """
        names = self.listed(component)
        if component not in self.components or not names:
            how = ": `mdic export` makes it" if component == "encoder" else ""
            raise BundleError(f"{self.path} has no {component}{how}")
        how = "copy the bundle again, whole"
        if component == "encoder":  # an export that was interrupted may have left it so
            how += ", or make its encoder again with `mdic export`"
        for name in names:
            file = self.path / name
            if not file.is_file():
                raise BundleError(f"{file} is missing: {how}")
            if sha256(file) != self.digests[name]:
                raise BundleError(f"{file} is not the file that {INDEX} lists: {how}")
        return self.path / component

    def listed(self, *components: str) -> dict[str, str]:
        """SHA-256 by file of what the index lists of these components."""
        return {name: digest for name, digest in self.digests.items() if name.split("/")[0] in components}


def _is_listed_name(name: str, components: tuple[str, ...]) -> bool:
    """Whether this is a relative path below a component's folder, in its shortest form."""
    path = PurePosixPath(name)
    parts = path.parts
    return str(path) == name and len(parts) > 1 and parts[0] in components and not {"..", "\\", "\0"} & {*parts, *name}


def _files(folder: Path) -> Iterator[str]:
    """Files below the folder that have to be listed, relative to it, with "/".

    Raises:
        BundleError: a folder in it is a symbolic link.
    """
    for root, folders, files in os.walk(folder):
        at = Path(root).relative_to(folder)
        if not at.parts:
            folders[:] = [name for name in folders if not name.startswith(".")]
            files = [name for name in files if name not in UNLISTED and not name.startswith(".")]
        for name in folders:
            if (Path(root) / name).is_symlink():
                raise BundleError(f"{Path(root) / name} is a symbolic link to a folder: copy its files there")
        yield from sorted((at / name).as_posix() for name in files)


def sha256(file: Path) -> str:
    """SHA-256 of a file, hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(digests: Mapping[str, str]) -> str:
    """SHA-256, hex, over the sorted names and digests of the files of `FINGERPRINTED` components."""
    decisive = {name: digest for name, digest in digests.items() if name.split("/")[0] in FINGERPRINTED}
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(decisive.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def folder_digests(path: Path) -> dict[str, str]:
    """SHA-256 of every file of the component folders under a path, by name relative to it with "/"."""
    return {
        file.relative_to(path).as_posix(): sha256(file)
        for component in CLASSES
        for file in sorted((path / component).rglob("*"))
        if file.is_file()
    }


def write_index(
    path: Path, model_id: str, *, guidance_scale: float = 1.0, digests: Mapping[str, str] | None = None
) -> str:
    """Makes a bundle of the component folders under a path: writes `model_index.json`, or replaces it in one step.

    Args:
        path: holds one folder per component.
        model_id: name of the model, as StreamInfo and reports show it; see `MODEL_ID`.
        guidance_scale: classifier-free guidance of the denoiser; 1 = none (the paper's model uses 3).
        digests: see `folder_digests`; None = of the files that are there.

    Returns:
        The fingerprint, 64 hex digits.
    """
    if not MODEL_ID.fullmatch(model_id):
        raise ValueError(f"{model_id!r} cannot be a model_id")
    digests = dict(folder_digests(path) if digests is None else digests)
    components = {name.split("/")[0] for name in digests}
    index: dict[str, Any] = {"_class_name": "MDIC", "model_id": model_id, "guidance_scale": guidance_scale}
    index |= {name: kind for name, kind in CLASSES.items() if name in components}
    index["sha256"] = digests
    partial = path / f".{INDEX}.partial"
    partial.write_text(json.dumps(index, indent=2) + "\n")
    partial.replace(path / INDEX)
    return fingerprint(digests)
