"""The launch files: what can be read from them anywhere, and what they start where launch_ros is "
"installed."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from mdic_ros.nodes.parameters import DECODER, ENCODER, REPLAY, Table
from mdic_ros.resources import resource

LAUNCH = Path(__file__).parent.parent / "launch"
FILES = sorted(LAUNCH.glob("*.launch.py"))
NAMES = [path.name.removesuffix(".launch.py") for path in FILES]

try:
    import launch_ros  # noqa: F401
    from launch.launch_description_sources import get_launch_description_from_python_launch_file
except ImportError as error:
    launch_missing = str(error)
else:
    launch_missing = ""
needs_launch = pytest.mark.skipif(bool(launch_missing), reason=f"needs launch_ros: {launch_missing}")


# ---- without launch


@pytest.mark.parametrize(
    ("name", "table"), [("encoder", ENCODER), ("decoder", DECODER), ("kitti_replay", REPLAY)]
)
def test_arguments_are_parameters_of_the_node_that_is_started(name: str, table: Table) -> None:
    tree = ast.parse((LAUNCH / f"{name}.launch.py").read_text())
    constants = {
        target.id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert set(constants["PARAMETERS"]) <= {parameter.name for parameter in table.parameters}
    executables = [
        keyword.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "executable" and isinstance(keyword.value, ast.Constant)
    ]
    assert executables == [f"{table.node}_node"]
    assert resource(f"scripts/{executables[0]}").exists()


# ---- with launch

# `launch-prefix` puts a program in front of every process that a launch file starts. This one does not
# start it; it says what it was given.
SHOW = """
import json, os, sys
files = [path for flag, path in zip(sys.argv, sys.argv[1:]) if flag == "--params-file"]
rules = [rule.split(":=") for flag, rule in zip(sys.argv, sys.argv[1:]) if flag == "-r"]
profile = os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE")
files = [open(path).read() for path in files]
print("SHOWN", json.dumps({"command": sys.argv[1:], "rules": dict(rules), "files": files, "profile": profile}))
"""
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [argument.split(":=", 1) for argument in sys.argv[2:]]
service = LaunchService()
file = IncludeLaunchDescription(PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)
service.include_launch_description(LaunchDescription([file]))
sys.exit(service.run())
"""


def run(name: str, environment: dict[str, str] | None = None, **arguments: str) -> tuple[int, str]:
    """Exit status and output of `ros2 launch mdic_ros NAME.launch.py ...`, without the ros2 command."""
    env = {k: v for k, v in os.environ.items() if not k.endswith("_DEFAULT_PROFILES_FILE")}
    env |= {"ROS_DOMAIN_ID": "83", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", **(environment or {})}
    line = [sys.executable, "-c", RUN, str(LAUNCH / f"{name}.launch.py")]
    line += [f"{key}:={value}" for key, value in arguments.items()]
    done = subprocess.run(
        line, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=280
    )
    return done.returncode, done.stdout


@pytest.fixture
def started(tmp_path: Path) -> Callable[..., dict[str, SimpleNamespace]]:
    """Function: launch file and arguments -> what it starts, by name of the executable."""
    show = tmp_path / "show.py"
    show.write_text(SHOW)

    def started(
        name: str, environment: dict[str, str] | None = None, **arguments: str
    ) -> dict[str, SimpleNamespace]:
        prefix = {"launch-prefix": f"{sys.executable} {show}"}
        status, output = run(name, environment, **prefix, **arguments)
        assert status == 0, output
        found = [json.loads(text) for text in re.findall(r"SHOWN (.*)$", output, re.MULTILINE)]
        processes = {}
        for process in found:
            process["parameters"] = {}
            for text in process["files"]:  # as ROS reads them: later ones win
                for node in yaml.safe_load(text).values():
                    process["parameters"].update(node["ros__parameters"])
            processes[Path(process["command"][0]).name] = SimpleNamespace(**process)
        return processes

    return started


@needs_launch
@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_described(name: str) -> None:
    description = get_launch_description_from_python_launch_file(str(LAUNCH / f"{name}.launch.py"))
    arguments = {argument.name: argument.description for argument in description.get_launch_arguments()}
    assert {"use_sim_time", "fastdds_profile", "coded_namespace"} <= set(arguments)
    assert [n for n, text in arguments.items() if len(text) < 20 or text == "no description given"] == []


@needs_launch
@pytest.mark.parametrize(
    ("role", "executables"),
    [
        ("both", {"encoder_node", "decoder_node"}),
        ("robot", {"encoder_node"}),
        ("workstation", {"decoder_node"}),
    ],
)
def test_role_says_which_half_runs(started: Any, role: str, executables: set[str]) -> None:
    assert set(started("stereo_pipeline", role=role)) == executables


@needs_launch
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("role", "spectator", "role"),
        ("rate_point", "fine", "rate_point:=fine is not allowed; allowed: whole numbers"),
        ("rate_point", "99", "rate_point: 99 is not allowed; allowed: whole numbers"),
        ("max_rate_hz", "-1", "max_rate_hz: -1.0 is not allowed; allowed: 0 to"),
        ("fastdds_profile", "none.xml", "fastdds_profile:=none.xml is not a file"),
    ],
)
def test_bad_values_are_refused_before_a_node_starts(name: str, value: str, words: str) -> None:
    status, output = run("stereo_pipeline", **{name: value})
    assert status == 1 and words in output
    assert "process started" not in output


@needs_launch
def test_topics_follow_the_namespaces_of_the_cameras(started: Any) -> None:
    left, right = "/kitti/camera_color_left", "/kitti/camera_color_right"
    nodes = started("stereo_pipeline", coded_namespace=left, side_namespace=right)
    encoder, decoder = nodes["encoder_node"].rules, nodes["decoder_node"].rules
    assert encoder["__ns"] == decoder["__ns"] == left
    assert encoder["image"] == f"{left}/image_raw" and encoder["camera_info"] == f"{left}/camera_info"
    assert decoder["side/image"] == f"{right}/image_raw"
    # The encoder listens to the camera's camera_info in this namespace; the decoder's must not be taken for
    # it.
    assert decoder["camera_info"] != "camera_info"


@needs_launch
def test_arguments_override_the_parameter_file_and_nothing_else_does(started: Any, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("/**:\n  ros__parameters:\n    rate_point: 1\n    target_bitrate_kbps: 20.0\n")
    nodes = started("encoder", encoder_config=str(config), rate_point="2", max_rate_hz="5")
    values = nodes["encoder_node"].parameters
    assert values == {
        "rate_point": 2,
        "target_bitrate_kbps": 20.0,
        "max_rate_hz": 5.0,
        "use_sim_time": False,
    }
    assert type(values["max_rate_hz"]) is float


@needs_launch
def test_a_bag_is_played_on_its_own_clock(started: Any) -> None:
    processes = started("stereo_pipeline", bag="drive", bag_rate="0.5", bag_loop="true")
    play = processes.pop("ros2").command
    assert play[:4] == ["ros2", "bag", "play", "drive"]
    assert "--clock" in play and "--loop" in play and play[play.index("--rate") + 1] == "0.5"
    assert all(node.parameters["use_sim_time"] is True for node in processes.values())
    processes = started("stereo_pipeline", bag="drive", use_sim_time="false")
    assert processes["encoder_node"].parameters["use_sim_time"] is False


@needs_launch
@pytest.mark.parametrize(
    ("environment", "arguments", "profile"),
    [
        ({}, {}, str(resource("config/fastdds.xml"))),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": "mine.xml"}, {}, "mine.xml"),
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "mine.xml"}, {}, None),
        ({}, {"fastdds_profile": ""}, None),
    ],
)
def test_the_fast_dds_profile_is_set_unless_the_user_has_one(
    started: Any, environment: dict[str, str], arguments: dict[str, str], profile: str | None
) -> None:
    assert started("encoder", environment, **arguments)["encoder_node"].profile == profile


@needs_launch
def test_replay_feeds_the_cameras_that_the_pipeline_listens_to(started: Any) -> None:
    nodes = started("kitti_replay", path="drive", coded_namespace="/a", side_namespace="/b", rate="0.5")
    assert (
        nodes["replay_node"].rules["left/image_raw"] == nodes["encoder_node"].rules["image"] == "/a/image_raw"
    )
    assert nodes["replay_node"].rules["right/image_raw"] == nodes["decoder_node"].rules["side/image"]
    assert nodes["replay_node"].parameters == {
        "path": "drive",
        "rate": 0.5,
        "publish_clock": True,
        "wait_for_subscribers": True,
    }
    assert nodes["decoder_node"].parameters["use_sim_time"] is True


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Three stereo frames as a plain left/right folder."""
    random = np.random.default_rng(0)
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        for index in range(3):
            pixels = random.integers(0, 255, (64, 128, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / side / f"{index:06d}.png")
    return tmp_path


@needs_launch
@pytest.mark.ros
def test_a_folder_is_replayed_and_the_launch_ends_with_it(drive: Path) -> None:
    status, output = run("kitti_replay", path=str(drive), layout="folder", rate="10.0", pipeline="false")
    assert status == 0, output
    assert "3 frames published" in output
