"""The tool that writes measured figures into the documentation."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def write_figures(pytestconfig: pytest.Config) -> ModuleType:
    pytest.importorskip("bjontegaard")
    file = pytestconfig.rootpath / "tools" / "write_figures.py"
    spec = importlib.util.spec_from_file_location("write_figures", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("mdic bench --size 128x256 --busy 4 --output /tmp/b.json --force", "mdic bench --size 128x256 --busy 4"),
        ("mdic bench --force --output=b.json --size=128x256", "mdic bench --size=128x256"),
        ("mdic bench --encode-only --model /home/me/m --threads 2", "mdic bench --encode-only --threads 2"),
        ("mdic bench --model '../my model' --frames 20", "mdic bench --frames 20"),
        ("mdic bench --model 'models/my model'", "mdic bench --model 'models/my model'"),
        ("mdic bench", "mdic bench"),
    ],
)
def test_the_command_has_nothing_of_one_machine(write_figures: ModuleType, typed: str, written: str) -> None:
    assert write_figures.portable(typed) == written


def test_the_documentation_has_no_path_of_one_machine(pytestconfig: pytest.Config) -> None:
    text = (pytestconfig.rootpath / "docs" / "performance.md").read_text()
    command = text.partition("<!-- bench -->\n`")[2].partition("`")[0]
    assert command.startswith("mdic bench ") and "--output" not in command and "/tmp" not in command
