"""Says which extra of the package to install when a library is missing.

`pip install .` in a checkout brings what the robot needs. What else there is to do needs more libraries, in named
groups ("extras", see pyproject.toml).
"""

from __future__ import annotations

from importlib.util import find_spec

from mdic_ros.errors import MdicError

_WORKSTATION = ("torch", "diffusers", "transformers", "tokenizers", "vector_quantize_pytorch")

#: Where pip finds PyTorch without CUDA, which is much smaller.
_TORCH_FOR_CPU = "https://download.pytorch.org/whl/cpu"

_REPORTS = ("accelerate", "av", "bjontegaard", "jinja2", "matplotlib", "pytorch_msssim", "torchmetrics")

#: Extra -> what it is for, and the modules that it brings and that are needed then.
EXTRAS = {
    "workstation": ("Decoding", _WORKSTATION),
    "train": ("Training and exporting models", (*_WORKSTATION, "accelerate", "cv2", "onnx", "onnxscript")),
    "eval": ("Measuring", (*_WORKSTATION, *_REPORTS)),
    "rectify": ("Rectifying images", ("cv2",)),
}


class MissingExtraError(MdicError):
    """Something was asked for whose libraries are not installed. The text names the extra that brings them."""


def need(extra: str, otherwise: str = "") -> None:
    """Makes sure that the libraries of an extra are there. Does not import them.

    Args:
        extra: of `EXTRAS`.
        otherwise: what can be done without them; ends the message.

    Raises:
        MissingExtraError: at least one is not.
    """
    purpose, modules = EXTRAS[extra]
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        text = f"{purpose} needs libraries that are not installed ({', '.join(missing)}): "
        text += f"pip install '.[{extra}]' in the checkout"
        if "torch" in missing:
            text += f"; on a machine without a GPU first: export PIP_EXTRA_INDEX_URL={_TORCH_FOR_CPU}"
        raise MissingExtraError(text + (f"; {otherwise}" if otherwise else ""))
