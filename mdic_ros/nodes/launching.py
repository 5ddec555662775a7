"""What the launch files share: arguments made from parameter tables, the environment, and how recordings are played.

Imports `launch`, which only a ROS installation has; the nodes do not need this module.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from launch import LaunchContext
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.substitution import Substitution
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage

from mdic_ros.errors import MdicError
from mdic_ros.nodes.fast_dds import PROFILE, profile_environment
from mdic_ros.nodes.parameters import Parameter, ParameterError, Table, Value
from mdic_ros.resources import resource

#: A process's command line.
Command = Sequence[str | Substitution]


class LaunchError(MdicError):
    """A launch file cannot do what it was asked to, or one of its processes failed; the text says what to do."""


def arguments(parameters: Iterable[Parameter]) -> list[DeclareLaunchArgument]:
    """Launch arguments for node parameters, described by their table."""
    return [_argument(parameter) for parameter in parameters]


def _argument(parameter: Parameter) -> DeclareLaunchArgument:
    """Not given is the empty text: `ros2 launch` takes no `name:=` without a value."""
    if parameter.choices:
        text = f"{parameter.text} Not given: as in the parameter file."
        return DeclareLaunchArgument(
            parameter.name, default_value="", description=text, choices=["", *parameter.choices]
        )
    text = f"{parameter.text} Allowed: {parameter.allowed}. Not given: as in the parameter file."
    return DeclareLaunchArgument(parameter.name, default_value="", description=text)


def given(context: LaunchContext, parameters: Iterable[Parameter]) -> dict[str, Value]:
    """The arguments that were given, checked, as the parameters' types. Raises ParameterError."""
    texts = [(parameter, LaunchConfiguration(parameter.name).perform(context)) for parameter in parameters]
    return {parameter.name: value_of(parameter, text) for parameter, text in texts if text}


def value_of(parameter: Parameter, text: str) -> Value:
    """The value that a launch argument's text stands for, checked. Raises ParameterError."""
    if parameter.type is bool:
        value: object = {"true": True, "false": False}.get(text.lower(), text)
    else:
        try:
            value = parameter.type(text)
        except ValueError:
            raise ParameterError(f"{parameter.name}:={text} is not allowed; allowed: {parameter.allowed}") from None
    return parameter.check(value)


def common_arguments() -> list[Action]:
    """Arguments that every launch file of this package has, and the environment that they set."""
    return [
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="false",
            choices=["true", "false"],
            description="Take the time from /clock, for recordings played with their own clock.",
        ),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            choices=["debug", "info", "warn", "error", "fatal"],
            description="Least severity that the nodes log.",
        ),
        DeclareLaunchArgument(
            "fastdds_profile",
            default_value=str(resource(PROFILE)),
            description="Fast DDS profile for the nodes started here: 16 MB of shared memory, without "
            "which best-effort images over 0.5 MB get lost. Not used if the environment names a profile; none: no "
            "profile.",
        ),
        OpaqueFunction(function=_set_environment),
    ]


def _set_environment(context: LaunchContext) -> list[Action]:
    actions: list[Action] = []
    if "OMP_WAIT_POLICY" not in context.environment:
        # Idle threads of one process must not take the processor from the others.
        actions.append(SetEnvironmentVariable("OMP_WAIT_POLICY", "PASSIVE"))
    profile = LaunchConfiguration("fastdds_profile").perform(context)
    if profile not in ("", "none"):
        if not Path(profile).is_file():
            raise LaunchError(f"fastdds_profile:={profile} is not a file")
        actions += [SetEnvironmentVariable(*item) for item in profile_environment(context.environment, profile).items()]
    return actions


def coder_arguments(table: Table) -> list[Action]:
    """Arguments of the encoder's or the decoder's launch file: its parameter file, all its parameters, common ones."""
    return [
        DeclareLaunchArgument(
            f"{table.node}_config",
            default_value=str(resource(f"config/{table.node}.yaml")),
            description=f"Parameter file of the {table.node}. Arguments given to this launch file override it.",
        ),
        *arguments(table.parameters),
        *common_arguments(),
    ]


def coder(context: LaunchContext, table: Table, remappings: Iterable[tuple[str, str]]) -> Node:
    """The encoder or decoder node in `coded_namespace`, with what `coder_arguments` declares."""
    use_sim_time = LaunchConfiguration("use_sim_time").perform(context) == "true"
    return Node(
        package="mdic_ros",
        executable=f"{table.node}_node",
        name=table.node,
        namespace=LaunchConfiguration("coded_namespace"),
        parameters=[
            LaunchConfiguration(f"{table.node}_config"),
            {**given(context, table.parameters), "use_sim_time": use_sim_time},
        ],
        remappings=list(remappings),
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        output="screen",
    )


def topic(namespace: str, name: str) -> str:
    """Absolute name of `name` in `namespace`; a name that is absolute already stays as it is."""
    return name if name.startswith("/") else f"/{namespace.strip('/')}/{name}".replace("//", "/")


# ---- recordings

_READY_TIMEOUT = Parameter(
    "ready_timeout",
    180.0,
    "Seconds from start until encoder and decoder must be ready. The recording is played as soon as they are; when "
    "they are not in time, the launch ends with an error.",
    1.0,
    86400.0,
)


def ready_timeout() -> list[Action]:
    """The argument that launch files with `play` have, checked before a node starts."""
    text = f"{_READY_TIMEOUT.text} Allowed: {_READY_TIMEOUT.allowed}."
    return [
        DeclareLaunchArgument(_READY_TIMEOUT.name, default_value=str(_READY_TIMEOUT.default), description=text),
        OpaqueFunction(function=_check_timeout),
    ]


def _check_timeout(context: LaunchContext) -> None:
    _timeout_s(context)


def _timeout_s(context: LaunchContext) -> Value:
    return value_of(_READY_TIMEOUT, LaunchConfiguration(_READY_TIMEOUT.name).perform(context))


def recorded_time(context: LaunchContext) -> list[Action]:
    """The player publishes the recording's time on /clock; the nodes follow it unless the user says otherwise."""
    if "use_sim_time" in context.launch_configurations:
        return []
    return [SetLaunchConfiguration("use_sim_time", "true")]


def raw_images() -> list[Action]:
    """For the encoder and decoder of a launch in which replay_node plays: what it publishes is not compressed."""
    return [SetLaunchConfiguration(name, "raw") for name in ("transport", "side_transport")]


def has_bag_player() -> bool:
    """Whether `ros2 bag` is installed beside the `ros2` that this launch runs in."""
    return any(point.name == "bag" for point in entry_points(group="ros2cli.command"))


def bag_player(bag: str, rate: Value, loop: bool) -> Command:
    """Command line of `ros2 bag play` with the recording's clock."""
    command = ["ros2", "bag", "play", bag, "--clock", "100", "--rate", str(rate)]
    # The delay is for the player's topics and the nodes to find each other: what is published before that is lost.
    command += ["--delay", "3", "--wait-for-all-acked", "2000", "--disable-keyboard-controls"]
    return [*command, "--loop"] if loop else command


def replay_player(context: LaunchContext, parameters: Mapping[str, Value]) -> Command:
    """Command line of `replay_node` with these parameters; its topics are those of the cameras of this launch."""
    coded = LaunchConfiguration("coded_namespace").perform(context)
    side = context.launch_configurations.get("side_namespace", "/stereo/right")
    left, right = (side, coded) if context.launch_configurations.get("view") == "right" else (coded, side)
    rules = ["__node:=replay"]
    for name in ("image_raw", "camera_info"):
        rules += [f"left/{name}:={topic(left, name)}", f"right/{name}:={topic(right, name)}"]
    command: list[str | Substitution] = [ExecutableInPackage(executable="replay_node", package="mdic_ros")]
    command += ["--ros-args", "--log-level", LaunchConfiguration("log_level").perform(context)]
    for rule in rules:
        command += ["-r", rule]
    for name, value in parameters.items():  # strings, numbers and truth values of JSON are YAML
        command += ["-p", f"{name}:={json.dumps(value, ensure_ascii=False)}"]
    return command


def play(context: LaunchContext, player: Command, nodes: Iterable[str]) -> list[Action]:
    """Run `player` when these nodes of coded_namespace are ready; end the launch after the last picture.

    The launch ends with an error when the player fails, when no picture comes out, or when one of our nodes ends first.
    """
    namespace = LaunchConfiguration("coded_namespace").perform(context)
    command: list[str | Substitution] = [ExecutableInPackage(executable="play_when_ready", package="mdic_ros")]
    command += ["--log-level", LaunchConfiguration("log_level").perform(context), "--timeout", str(_timeout_s(context))]
    for node in nodes:
        command += ["--wait-for", topic(namespace, node)]
        if node == "decoder":
            command += ["--reports", topic(namespace, "report")]
    process = ExecuteProcess(name="player", cmd=[*command, "--", *player], output="screen")

    def ended(event: ProcessExited, context: LaunchContext) -> list[Action]:
        ours = event.action is process or getattr(event.action, "node_package", "") == "mdic_ros"
        if context.is_shutdown or not ours:
            return []
        if event.action is not process:
            raise LaunchError(
                f"{event.process_name} ended with exit code {event.returncode} before the recording did; its last "
                "lines above say why"
            )
        if event.returncode:
            raise LaunchError("the recording was not played to its end; the last lines of [player] above say why")
        return [Shutdown(reason="the recording has ended")]

    return [RegisterEventHandler(OnProcessExit(on_exit=ended)), process]
