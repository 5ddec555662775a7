"""Reading the prior of a bundle."""

import json
from pathlib import Path

import pytest

from mdic_ros.codec.prior import load_prior
from mdic_ros.models.entropy.exact import PriorError
from mdic_ros.resources import resource


def test_folders_without_a_prior(tmp_path: Path) -> None:
    with pytest.raises(PriorError, match="cannot read"):
        load_prior(tmp_path)
    shipped = resource("models/mdic_tiny/entropy_model")
    weights = (shipped / "diffusion_pytorch_model.safetensors").read_bytes()
    config = json.loads((shipped / "config.json").read_text())
    for name, text, data in (
        ("no JSON", "{", weights),
        ("no object", "[]", weights),
        ("incomplete", "{}", weights),
        ("sizes that make no prior", json.dumps({**config, "groups": [3]}), weights),
        ("other sizes", json.dumps({**config, "dim": 64}), weights),
        ("no weights", json.dumps(config), b"weights"),
        ("cut weights", json.dumps(config), weights[:-5]),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(text)
        (folder / "diffusion_pytorch_model.safetensors").write_bytes(data)
        with pytest.raises(PriorError):
            load_prior(folder)
