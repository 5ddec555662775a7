"""Loads the components of a bundle that are PyTorch modules, tokenizers and schedulers."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
import transformers
from diffusers import ModelMixin
from diffusers.utils import is_accelerate_available
from torch import nn

from mdic_ros.codec.bundle import CLASSES, Bundle, BundleError
from mdic_ros.models.captioner import Captioner
from mdic_ros.models.detail_refiner import DetailRefiner
from mdic_ros.models.entropy.model import EntropyModel
from mdic_ros.models.hyper_align import HyperAlign
from mdic_ros.models.mask_generator import MaskGenerator
from mdic_ros.models.quantizer import MultiScaleQuantizer
from mdic_ros.models.side_alignment import SideAlignment
from mdic_ros.models.side_fusion import SideFusion

transformers.utils.logging.disable_progress_bar()  # small files; a bar per component would only scroll the terminal

_LIBRARIES = {"diffusers": diffusers, "transformers": transformers}
_OURS = {
    kind.__name__: kind
    for kind in (
        DetailRefiner, EntropyModel, HyperAlign, MaskGenerator, MultiScaleQuantizer, SideAlignment, SideFusion,
    )
}  # fmt: skip


def load(bundle: Bundle, component: str, device: str | torch.device = "cpu") -> Any:
    """One component on a device, in float32 and evaluation mode.

    Args:
        bundle: where it is.
        component: one of `WORKSTATION`.
        device: where modules go; a tokenizer and a scheduler have no device.

    Raises:
        BundleError: see `Bundle.check`; also if the files do not fit the class.
    """
    folder = bundle.check(component)
    library, name = CLASSES[component]
    try:
        if component == "captioner":
            return Captioner.from_pretrained(folder, load(bundle, "tokenizer"), device)
        kind = _OURS[name] if library == "mdic_ros" else getattr(_LIBRARIES[library], name)
        options: dict[str, Any] = {"local_files_only": True}
        if library == "transformers":
            options["trust_remote_code"] = False
        if issubclass(kind, nn.Module):
            options["use_safetensors"] = True
            if component != "entropy_model":  # evaluated exactly, so its weights stay as they are stored
                options["torch_dtype" if library != "transformers" else "dtype"] = torch.float32
        if issubclass(kind, ModelMixin):
            options["low_cpu_mem_usage"] = is_accelerate_available()  # unset, it would warn for each component
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
