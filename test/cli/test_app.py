"""The command as a whole: help, usage, versions, how errors and signals end it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mdic_ros import __version__, cli
from mdic_ros.cli import encode as encode_command
from mdic_ros.datasets import LAYOUTS, READERS
from mdic_ros.errors import MdicError

ROOT = Path(__file__).parents[2]
Mdic = Callable[..., Any]

COMMANDS = [
    ["bag", "write"],
    ["bag", "images"],
    ["bag", "info"],
    ["encode"],
    ["decode"],
    ["info"],
    ["eval"],
    ["bench"],
    ["pack"],
    ["train"],
    ["export"],
]


def test_help_names_every_command(mdic: Mdic) -> None:
    result = mdic("--help")
    assert result.code == 0
    for command in COMMANDS:
        assert f" {command[0]} " in result.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_commands_has_examples(mdic: Mdic, command: list[str]) -> None:
    result = mdic(*command, "--help")
    assert result.code == 0
    assert f"mdic {' '.join(command)} " in result.out.split("Example")[1]


def test_terms_are_explained_where_they_are_used(mdic: Mdic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # no line of one column comes between two of another

    def text(command: str) -> str:
        return " ".join(word for word in mdic(command, "--help").out.split() if word != "│")

    assert "0 is the coarsest" in text("encode") and "The other camera's image is called the side image" in text(
        "encode"
    )
    assert "The side image: what the other camera saw" in text("decode") and "mask (white where" in text("decode")
    for said in ("G1 and G2 (the networks", "mask (where", "the side image (the other", "A rate point is a size"):
        assert said in text("eval")
    assert "How long, and what it buys" in text("train")


def test_layouts_are_listed(mdic: Mdic) -> None:
    assert tuple(reader.name for reader in READERS) == LAYOUTS
    for command in (["encode"], ["bag", "write"], ["bag", "images"]):
        words = set(re.split(r"[^a-z_]+", mdic(*command, "--help").out))
        assert set(LAYOUTS) <= words
    wrong = mdic("encode", "a", "b", "--layout", "kiti")
    assert wrong.code == 2 and all(name in wrong.err for name in LAYOUTS)


def test_version(mdic: Mdic) -> None:
    assert mdic("--version").out == f"mdic_ros {__version__}\n"


def test_help_loads_no_library() -> None:
    code = "import sys\nfrom mdic_ros.cli import main\ntry: main(['encode', '--help'])\n"
    code += "finally: print('LOADED', sorted({'torch', 'numpy', 'rosbags', 'rclpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "LOADED []" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode"],
        ["nonsense"],
        ["bag", "write", "a", "b", "--images", "gif"],
        ["encode", "a.png", "b.mdic", "--size", "128"],
        ["encode", "a.png", "b.mdic", "--max-bytes", "0"],
        ["encode", "a.png", "b.mdic", "--view", "middle"],
        ["decode", "a", "b", "--steps", "0"],
        ["decode", "a", "b", "--dtype", "float8"],
        ["eval", "a", "--steps", "1,x"],
        ["eval", "a", "--steps", "0"],
    ],
)
def test_usage_errors_are_exit_code_2(mdic: Mdic, arguments: list[str]) -> None:
    assert mdic(*arguments).code == 2


def test_user_errors_are_one_message(mdic: Mdic, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello, this is no packet")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.mcap").write_bytes(b"x" * 50)
    for arguments in (
        ["bag", "write", tmp_path / "nothing", tmp_path / "b"],
        ["bag", "write", tmp_path / "empty", tmp_path / "b"],
        ["bag", "images", tmp_path / "nothing", tmp_path / "b"],
        ["bag", "info", tmp_path / "nothing"],
        ["bag", "info", tmp_path / "broken.mcap"],
        ["encode", tmp_path / "nothing.png", tmp_path / "b.mdic"],
        ["encode", tmp_path / "empty", tmp_path / "b"],
        ["decode", tmp_path / "nothing.mdic", tmp_path / "b.png"],
        ["info", tmp_path / "text"],
        ["info", tmp_path / "nothing"],
    ):
        result = mdic(*arguments)
        assert result.code == 1, arguments
        assert result.err.startswith("error: "), arguments
        assert str(tmp_path) in result.err or "text" in str(arguments), arguments
    assert mdic("info", tmp_path / "empty").code == 2


def fail(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Lets `mdic encode` raise an error."""

    def is_image(_: Path) -> bool:
        raise error

    monkeypatch.setattr(encode_command, "is_image", is_image)


def test_what_a_user_can_mend_is_a_sentence(mdic: Mdic, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, MdicError("the lens cap is on: take it off"))
    result = mdic("encode", "a.png", "b.mdic")
    assert (result.code, result.err) == (1, "error: the lens cap is on: take it off\n")


def test_a_bug_shows_as_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fail(monkeypatch, ValueError("width must not be negative"))
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["encode", "a.png", "b.mdic"])
    errors = capsys.readouterr().err
    assert exit_info.value.code == 1
    assert "Traceback" in errors and "ValueError: width must not be negative" in errors
    assert errors.splitlines()[-1].startswith(f"This is a bug of mdic_ros {__version__}")


def test_ctrl_c_is_answered(mdic: Mdic, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, KeyboardInterrupt())
    result = mdic("encode", "a.png", "b.mdic")
    assert (result.code, result.err) == (130, "interrupted\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_in_order(mdic: Mdic, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int) -> None:
    cleaned = []

    def is_image(_: Path) -> bool:
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            os.kill(os.getpid(), number)  # a second one does not break into the cleaning up
            cleaned.append(True)
        return False

    before = signal.getsignal(number)
    monkeypatch.setattr(encode_command, "is_image", is_image)
    assert mdic("encode", "a.png", "b.mdic").code == code
    assert cleaned == [True] and signal.getsignal(number) is before


def test_an_ignored_hang_up_stays_ignored(mdic: Mdic, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_image(_: Path) -> bool:
        os.kill(os.getpid(), signal.SIGHUP)
        raise MdicError("it went on")

    monkeypatch.setattr(encode_command, "is_image", is_image)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert mdic("encode", "a.png", "b.mdic").err == "error: it went on\n"
    finally:
        signal.signal(signal.SIGHUP, before)
