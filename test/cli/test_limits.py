"""Numbers that make no sense: every numeric option of every command answers with a sentence, never with a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import pytest
from typer.models import OptionInfo

from mdic_ros.cli.app import app
from mdic_ros.cli.demo.__main__ import app as demo_app
from mdic_ros.cli.limits import LIMITS
from mdic_ros.nodes.parameters import DECODER, ENCODER

Mdic = Callable[..., Any]

#: 0, below, far above, and what is no number. The last has more digits than Python takes.
EXTREMES = ("0", "-1", "9" * 23, "1e308", "nan", "inf", "-inf", "9" * 5000)
#: Options whose numbers stand in text, with what it looks like around a number.
IN_TEXT = {
    "--size": ("{}x256", "128x{}"),
    "--max-pixels": ("{}x256", "128x{}"),
    "--steps": ("1,{}",),
    "--protocol": ("{}x256",),
}


def commands() -> Iterator[tuple[str, Callable[..., None]]]:
    """("bag write", the function that runs it) and so on."""
    for prefix, group in [("", app), *((f"{g.name} ", g.typer_instance) for g in app.registered_groups)]:
        for command in group.registered_commands:
            assert command.callback is not None
            yield f"{prefix}{command.name or command.callback.__name__}", command.callback
    (command,) = demo_app.registered_commands
    assert command.callback is not None
    yield "demo", command.callback


class Option(NamedTuple):
    command: str
    name: str
    numeric: bool
    limits: tuple[float | None, float | None]


def options() -> Iterator[Option]:
    """All options of all commands."""
    for command, function in commands():
        for argument, hint in get_type_hints(function, include_extras=True).items():
            if get_origin(hint) is Annotated:
                kind, info = get_args(hint)
                if isinstance(info, OptionInfo):
                    kinds = {kind, *get_args(kind), *(inner for part in get_args(kind) for inner in get_args(part))}
                    name = f"--{argument.replace('_', '-')}"
                    yield Option(command, name, bool(kinds & {int, float}), (info.min, info.max))


NUMERIC = [option for option in options() if option.numeric]
TEXT = [option for option in options() if option.name in IN_TEXT and not option.numeric]


def test_every_number_has_its_limits_in_the_table() -> None:
    found = {option[:2] for option in NUMERIC}
    assert {
        ("bag write", "--rate"), ("bag images", "--limit"), ("encode", "--max-bytes"), ("encode", "--rate-point"),
        ("decode", "--steps"), ("decode", "--seed"), ("decode", "--threads"), ("eval", "--limit"), ("bench", "--busy"),
        ("bench", "--frames"), ("pack", "--height"), ("pack", "--max-mb"), ("train", "--minutes"), ("demo", "--steps"),
    } <= found  # fmt: skip
    for option in NUMERIC:
        assert option.limits in LIMITS.values(), f"{option} is not bounded by the table"
    in_text = {("encode", "--size"), ("decode", "--max-pixels"), ("bench", "--steps"), ("eval", "--steps")}
    assert in_text <= {option[:2] for option in TEXT}


def test_nodes_have_the_same_limits() -> None:
    for table, name, option in (
        (DECODER, "steps", "steps"), (DECODER, "seed", "seed"), (DECODER, "threads", "threads"),
        (DECODER, "sync_slop_s", "side_slop"), (ENCODER, "rate_point", "rate_point_or_finest"),
    ):  # fmt: skip
        assert (table[name].minimum, table[name].maximum) == LIMITS[option]
    assert ENCODER["max_bytes_per_frame"].maximum == LIMITS["max_bytes"][1]


def label(option: Option) -> str:
    return f"{option.command} {option.name}"


@pytest.fixture
def inputs(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> dict[str, list[object]]:
    """Arguments with which each command runs, but for one option that is added."""
    model = ["--model", tiny_bundle]
    packet = tmp_path / "packet.mdic"
    mdic("encode", pairs / "left" / "0.png", packet, "--size", "64x128", *model)
    return {
        "bag write": [pairs, tmp_path / "bag", "--force"],
        "bag images": [pairs, tmp_path / "images", "--force"],
        "bag info": [tmp_path / "bag"],
        "encode": [pairs / "left" / "0.png", tmp_path / "out.mdic", "--force", *model],
        "decode": [packet, tmp_path / "out.png", "--force", *model],
        "eval": [tmp_path / "nothing", *model],
        "bench": ["--size", "64x128", "--frames", "1", "--encode-only", *model],
        "pack": [pairs, tmp_path / "pack.zip", "--force"],
        "train": ["prior", "--data", tmp_path / "nothing", "--bundle", tmp_path / "m", "--out", tmp_path / "o"],
    }


@pytest.mark.parametrize("option", [option for option in NUMERIC if option.command != "demo"], ids=label)
def test_extremes_of_numbers(mdic: Mdic, inputs: dict[str, list[object]], option: Option) -> None:
    for value in EXTREMES:
        # The fixture fails on a traceback.
        result = mdic(*option.command.split(), *inputs[option.command], f"{option.name}={value}")
        allowed = value == "0" and option.limits[0] == 0
        assert allowed or (result.code == 2 and option.name in result.err), (option, value, result.err)


@pytest.mark.parametrize("option", [option for option in TEXT if option.command != "demo"], ids=label)
def test_extremes_within_text(mdic: Mdic, inputs: dict[str, list[object]], option: Option) -> None:
    for text in IN_TEXT[option.name]:
        for value in EXTREMES:
            result = mdic(*option.command.split(), *inputs[option.command], f"{option.name}={text.format(value)}")
            assert result.code == (1 if option.name == "--protocol" else 2), (option, value, result.err)


@pytest.mark.parametrize("option", [option for option in (*NUMERIC, *TEXT) if option.command == "demo"], ids=label)
def test_extremes_of_the_demo(capsys: pytest.CaptureFixture[str], option: Option) -> None:
    for value in EXTREMES:
        text = value if option.numeric else f"128x{value}"
        if option.numeric and value in ("0", "-1") and float(value) >= option.limits[0]:
            continue
        with pytest.raises(SystemExit) as exit_info:
            demo_app([f"{option.name}={text}", "--bag", "/nothing"])
        assert exit_info.value.code == 2 and option.name in capsys.readouterr().err, (option, value)


def test_the_largest_that_are_allowed(mdic: Mdic, inputs: dict[str, list[object]]) -> None:
    most = {
        name: f"{limits[1]:g}" if isinstance(limits[1], float) else str(limits[1]) for name, limits in LIMITS.items()
    }
    assert mdic("decode", *inputs["decode"], "--steps", most["steps"], "--seed", most["seed"]).code == 0
    assert mdic("decode", *inputs["decode"], "--side-slop", most["side_slop"], "--max-pixels", "4096x4096").code == 0
    assert mdic("encode", *inputs["encode"], "--max-bytes", most["max_bytes"]).code == 0
    refused = mdic("encode", *inputs["encode"], "--rate-point", most["rate_point"])
    assert refused.code == 2 and "has 0 to" in refused.err
    assert mdic("bag", "images", *inputs["bag images"], "--limit", most["limit"]).code == 0
    for rate in (f"{LIMITS['rate_hz'][0]:g}", most["rate_hz"]):
        assert mdic("bag", "write", *inputs["bag write"], "--rate", rate, "--side-slop", most["side_slop"]).code == 0
    assert mdic("pack", *inputs["pack"], "--height", most["height"], "--max-mb", most["max_mb"]).code == 0
