"""The launch files: what can be read from them anywhere, and what they start where launch_ros is installed."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from mdic_ros.nodes.parameters import DECODER, ENCODER, Table
from mdic_ros.resources import resource

LAUNCH = Path(__file__).parent.parent / "launch"
FILES = sorted(LAUNCH.glob("*.launch.py"))
WITH_BOTH = ("stereo_pipeline", "kitti_replay")
NAMES = [path.name.removesuffix(".launch.py") for path in FILES]

try:
    import launch_ros  # noqa: F401
    from launch.launch_description_sources import get_launch_description_from_python_launch_file
except ImportError as error:
    launch_missing = str(error)
else:
    launch_missing = ""
has_ros2_bag = any(point.name == "bag" for point in entry_points(group="ros2cli.command"))
needs_launch = pytest.mark.skipif(bool(launch_missing), reason=f"needs launch_ros: {launch_missing}")


# ---- without launch


def executables(path: Path) -> list[str]:
    """The executables that a file starts, where it names them as they are."""
    return [
        keyword.value.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "executable" and isinstance(keyword.value, ast.Constant)
    ]


def test_executables_are_there() -> None:
    named = executables(resource("mdic_ros/nodes/launching.py"))
    assert set(named) == {"replay_node", "play_when_ready"}
    for executable in [*named, *(f"{table.node}_node" for table in (ENCODER, DECODER))]:
        assert resource(f"scripts/{executable}").exists()
    assert [executables(path) for path in FILES] == [[]] * len(FILES)  # launching.py starts all of them


# ---- with launch

# `launch-prefix` puts a program in front of every process that a launch file starts. This one does not start it; it
# says what it was given. Where there is a player, the nodes run until they are stopped, and the player until they run.
SHOW = """
import json, os, signal, sys, time
from pathlib import Path
command = sys.argv[1:]
flags = list(zip(command, command[1:]))
files = [open(path).read() for flag, path in flags if flag == "--params-file"]
rules = dict(rule.split(":=") for flag, rule in flags if flag == "-r")
values = dict(rule.split(":=", 1) for flag, rule in flags if flag == "-p")
nodes = [node for flag, node in flags if flag == "--wait-for"]
shown = {"command": command, "rules": rules, "files": files, "values": values, "nodes": nodes}
shown["environment"] = {k: v for k, v in os.environ.items() if k == "OMP_WAIT_POLICY" or k.endswith("PROFILES_FILE")}
signal.signal(signal.SIGINT, lambda *_: os._exit(0))
print("SHOWN", json.dumps(shown), flush=True)
folder = Path(__file__).parent
if command[0].endswith("play_when_ready"):
    while len(list(folder.glob("shown-*"))) < len(nodes):
        time.sleep(0.01)
elif os.environ.get("WITH_PLAYER"):
    (folder / f"shown-{os.getpid()}").touch()
    signal.pause()
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
    env = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY" and not k.endswith("_DEFAULT_PROFILES_FILE")}
    env |= {"ROS_DOMAIN_ID": "83", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", **(environment or {})}
    line = [sys.executable, "-c", RUN, str(LAUNCH / f"{name}.launch.py")]
    line += [f"{key}:={value}" for key, value in arguments.items()]
    done = subprocess.run(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=280)
    return done.returncode, done.stdout


@pytest.fixture
def started(tmp_path: Path) -> Callable[..., dict[str, SimpleNamespace]]:
    """Function: launch file and arguments -> what it starts, by name of the executable."""
    show = tmp_path / "show.py"
    show.write_text(SHOW)

    def started(name: str, environment: dict[str, str] | None = None, **arguments: str) -> dict[str, SimpleNamespace]:
        environment = dict(environment or {})
        if "bag" in arguments or name == "kitti_replay":
            environment["WITH_PLAYER"] = "yes"
        prefix = {"launch-prefix": f"{sys.executable} {show}"}
        status, output = run(name, environment, **prefix, **arguments)
        for path in tmp_path.glob("shown-*"):
            path.unlink()
        assert status == 0, output
        processes = {}
        for text in re.findall(r"SHOWN (.*)$", output, re.MULTILINE):
            process = json.loads(text)
            process["parameters"] = {}
            for content in process["files"]:  # as ROS reads them: later ones win
                for node in yaml.safe_load(content).values():
                    process["parameters"].update(node["ros__parameters"])
            for parameter, value in process["values"].items():
                process["parameters"][parameter] = yaml.safe_load(value)
            processes[Path(process["command"][0]).name] = SimpleNamespace(**process)
        return processes

    return started


@pytest.fixture
def with_ros2_bag(tmp_path: Path) -> dict[str, str]:
    """Environment in which `ros2 bag` is installed, as far as a launch file looks."""
    points = tmp_path / "site" / "ros2bag-0.26.0.dist-info" / "entry_points.txt"
    points.parent.mkdir(parents=True)
    points.write_text("[ros2cli.command]\nbag = ros2bag.command.bag:BagCommand\n")
    (points.parent / "METADATA").write_text("Metadata-Version: 2.1\nName: ros2bag\nVersion: 0.26.0\n")
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])}


@needs_launch
@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_described(name: str) -> None:
    description = get_launch_description_from_python_launch_file(str(LAUNCH / f"{name}.launch.py"))
    arguments = {argument.name: argument.description for argument in description.get_launch_arguments()}
    assert {"use_sim_time", "fastdds_profile", "coded_namespace"} <= set(arguments)
    assert [n for n, text in arguments.items() if len(text) < 20 or text == "no description given"] == []


@needs_launch
@pytest.mark.parametrize(
    ("name", "tables"),
    [("encoder", [ENCODER]), ("decoder", [DECODER]), *((name, [ENCODER, DECODER]) for name in WITH_BOTH)],
)
def test_every_parameter_of_a_node_is_an_argument(name: str, tables: list[Table]) -> None:
    description = get_launch_description_from_python_launch_file(str(LAUNCH / f"{name}.launch.py"))
    arguments = {argument.name for argument in description.get_launch_arguments()}
    assert {parameter.name for table in tables for parameter in table.parameters} <= arguments


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
    ("arguments", "words"),
    [
        ({"role": "spectator"}, "role"),
        ({"rate_point": "fine"}, "rate_point:=fine is not allowed; allowed: whole numbers"),
        ({"rate_point": "99"}, "rate_point: 99 is not allowed; allowed: whole numbers"),
        ({"max_rate_hz": "-1"}, "max_rate_hz: -1.0 is not allowed; allowed: 0 to"),
        ({"fastdds_profile": "none.xml"}, "fastdds_profile:=none.xml is not a file"),
        ({"ready_timeout": "soon"}, "ready_timeout:=soon is not allowed; allowed: 1 to"),
        ({"bag": ".", "bag_rate": "1000"}, "bag_rate: 1000.0 is not allowed"),
        ({"bag": "/nowhere"}, "bag:=/nowhere: no such file or folder"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_values_are_refused_before_a_node_starts(arguments: dict[str, str], words: str) -> None:
    status, output = run("stereo_pipeline", **arguments)
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
def test_each_node_gets_the_arguments_that_it_has_parameters_for(started: Any) -> None:
    arguments = {"window_s": "4", "side_history_s": "30", "max_pixels": "8192", "caption": "none", "threads": "1"}
    nodes = started("stereo_pipeline", **arguments, reliability="best_effort")
    own = {}
    for name, node in nodes.items():
        (given,) = yaml.safe_load(node.files[-1]).values()  # after the parameter file
        own[name] = given["ros__parameters"]
    both = {"threads": 1, "reliability": "best_effort", "use_sim_time": False}
    assert own["encoder_node"] == {"window_s": 4.0, **both}
    assert own["decoder_node"] == {"side_history_s": 30.0, "max_pixels": 8192, "caption": "none", **both}


@needs_launch
def test_a_bag_is_played_by_ros2_bag_on_its_own_clock(started: Any, with_ros2_bag: dict[str, str]) -> None:
    arguments = {"bag": str(LAUNCH), "bag_rate": "0.5", "bag_loop": "true", "ready_timeout": "60"}
    nodes = started("stereo_pipeline", with_ros2_bag, **arguments)
    command = nodes.pop("play_when_ready").command
    at = command.index("--")
    assert command[at + 1 : at + 5] == ["ros2", "bag", "play", str(LAUNCH)]
    assert command[command.index("--timeout") + 1] == "60.0"
    assert "--clock" in command and "--loop" in command and command[command.index("--rate") + 1] == "0.5"
    assert all(node.parameters["use_sim_time"] is True for node in nodes.values())
    nodes = started("stereo_pipeline", with_ros2_bag, bag=str(LAUNCH), use_sim_time="false")
    assert nodes["encoder_node"].parameters["use_sim_time"] is False


@needs_launch
@pytest.mark.parametrize(
    ("role", "nodes", "reports"),
    [
        ("both", ["/car/left/encoder", "/car/left/decoder"], True),
        ("robot", ["/car/left/encoder"], False),
        ("workstation", ["/car/left/decoder"], True),
    ],
)
def test_the_player_waits_for_the_nodes_of_this_machine(
    started: Any, with_ros2_bag: dict[str, str], role: str, nodes: list[str], reports: bool
) -> None:
    arguments = {"bag": str(LAUNCH), "role": role, "coded_namespace": "/car/left"}
    player = started("stereo_pipeline", with_ros2_bag, **arguments)["play_when_ready"]
    assert player.nodes == nodes
    assert ("/car/left/report" in player.command) == reports


@needs_launch
@pytest.mark.skipif(has_ros2_bag, reason="`ros2 bag` is installed here")
def test_without_ros2_bag_it_says_so_and_the_replay_node_plays(started: Any) -> None:
    nodes = started("stereo_pipeline", bag=str(LAUNCH))
    assert "replay_node" in nodes["play_when_ready"].command[nodes["play_when_ready"].command.index("--") + 1]
    status, output = run("stereo_pipeline", bag=str(LAUNCH), role="workstation")
    assert status == 1 and "`ros2 bag play` is not installed (apt install" in output
    assert "process started" not in output


@needs_launch
def test_replay_node_plays_a_bag_under_the_names_that_the_nodes_listen_to(started: Any) -> None:
    arguments = {"player": "replay_node", "bag": str(LAUNCH), "bag_rate": "2", "transport": "compressed"}
    nodes = started("stereo_pipeline", coded_namespace="/a", side_namespace="/b", **arguments)
    player = nodes["play_when_ready"]
    assert Path(player.command[player.command.index("--") + 1]).name == "replay_node"
    assert player.rules["left/image_raw"] == nodes["encoder_node"].rules["image"] == "/a/image_raw"
    assert player.rules["right/image_raw"] == nodes["decoder_node"].rules["side/image"]
    assert player.parameters == {
        "path": str(LAUNCH),
        "rate": 2.0,
        "loop": False,
        "publish_clock": True,
        "wait_for_subscribers": True,
    }
    assert nodes["encoder_node"].parameters["transport"] == nodes["decoder_node"].parameters["side_transport"] == "raw"
    assert nodes["decoder_node"].parameters["use_sim_time"] is True


@needs_launch
@pytest.mark.parametrize(
    ("environment", "arguments", "profile"),
    [
        ({"ROS_DISTRO": "jazzy"}, {}, {"FASTRTPS_DEFAULT_PROFILES_FILE": str(resource("config/fastdds.xml"))}),
        ({"ROS_DISTRO": "kilted"}, {}, {"FASTDDS_DEFAULT_PROFILES_FILE": str(resource("config/fastdds.xml"))}),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": "mine.xml"}, {}, {"FASTRTPS_DEFAULT_PROFILES_FILE": "mine.xml"}),
        ({}, {"fastdds_profile": "none"}, {}),
    ],
)
def test_the_fast_dds_profile_is_set_unless_the_user_has_one(
    started: Any, environment: dict[str, str], arguments: dict[str, str], profile: dict[str, str]
) -> None:
    shown = started("encoder", environment, **arguments)["encoder_node"].environment
    assert {name: value for name, value in shown.items() if "PROFILES" in name} == profile


@needs_launch
@pytest.mark.parametrize("name", ["encoder", "decoder", "kitti_replay"])
def test_idle_threads_do_not_spin_unless_the_user_wants_it(started: Any, name: str) -> None:
    arguments = {"path": "drive"} if name == "kitti_replay" else {}
    for environment, policy in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        for process in started(name, environment, **arguments).values():
            assert process.environment["OMP_WAIT_POLICY"] == policy


@needs_launch
@pytest.mark.parametrize("path", ["drive", 'a drive: of "2026" #5', "2011_09_26", "~", "Straße"])
def test_replay_feeds_the_cameras_that_the_pipeline_listens_to(started: Any, path: str) -> None:
    nodes = started("kitti_replay", path=path, coded_namespace="/a", side_namespace="/b", rate="0.5")
    player = nodes["play_when_ready"]
    assert player.rules["left/image_raw"] == nodes["encoder_node"].rules["image"] == "/a/image_raw"
    assert player.rules["right/image_raw"] == nodes["decoder_node"].rules["side/image"]
    assert player.nodes == ["/a/encoder", "/a/decoder"]
    assert player.parameters == {"path": path, "rate": 0.5, "publish_clock": True, "wait_for_subscribers": True}
    assert nodes["decoder_node"].parameters["use_sim_time"] is True


@needs_launch
def test_of_a_right_camera_that_is_coded_the_right_images_are_replayed(started: Any) -> None:
    rules = started("kitti_replay", path="drive", coded_namespace="/a", side_namespace="/b", view="right")
    assert rules["play_when_ready"].rules["right/image_raw"] == "/a/image_raw"


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


@needs_launch
@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.timeout(900)  # a busy machine takes minutes to load torch in every process
def test_the_pipeline_decodes_a_recording_and_ends_after_the_last_picture(drive: Path, tiny_bundle: Path) -> None:
    arguments = {"bag": str(drive), "model": str(tiny_bundle), "bag_rate": "0.2"}
    status, output = run("stereo_pipeline", player="replay_node", **arguments)
    assert status == 0, output
    assert re.search(r"encoder and /stereo/left/decoder ready after", output)
    assert re.search(r"[1-3] pictures came out", output), output
    assert "Traceback" not in output


@needs_launch
@pytest.mark.ros
@pytest.mark.parametrize("role", ["both", "robot"])
def test_the_launch_ends_with_an_error_when_a_node_does_not_start(drive: Path, role: str) -> None:
    status, output = run("stereo_pipeline", role=role, bag=str(drive), player="replay_node", model="/nowhere")
    assert status == 1, output
    assert re.search(r"coder_node-\d ended with exit code 1 before the recording did", output), output
    assert "starting replay_node" not in output
