"""What the launch files share: arguments made from the parameter tables, and the Fast DDS profile.

Imports `launch`, which only a ROS installation has; the nodes do not need this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from launch import LaunchContext
from launch.action import Action
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration

from mdic_ros.nodes.parameters import Parameter, ParameterError, Table, Value
from mdic_ros.resources import resource

#: Fast DDS 2 (Humble, Jazzy) reads the first name, Fast DDS 3 (Kilted and later) the second.
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def arguments(table: Table, names: Iterable[str]) -> list[DeclareLaunchArgument]:
    """Launch arguments for node parameters, described by the table; empty is "as in the parameter file"."""
    return [_argument(table[name]) for name in names]


def _argument(parameter: Parameter) -> DeclareLaunchArgument:
    if parameter.choices:
        text = f"{parameter.text} Empty: as in the parameter file."
        return DeclareLaunchArgument(
            parameter.name, default_value="", description=text, choices=["", *parameter.choices]
        )
    text = f"{parameter.text} Allowed: {parameter.allowed}; empty: as in the parameter file."
    return DeclareLaunchArgument(parameter.name, default_value="", description=text)


def given(context: LaunchContext, table: Table, names: Iterable[str]) -> dict[str, Value]:
    """The arguments that are not empty, checked, as the parameters' types. Raises ParameterError."""
    texts = {name: LaunchConfiguration(name).perform(context) for name in names}
    return {name: _value(table[name], text) for name, text in texts.items() if text}


def _value(parameter: Parameter, text: str) -> Value:
    if parameter.type is bool:
        value: object = {"true": True, "false": False}.get(text.lower(), text)
    else:
        try:
            value = parameter.type(text)
        except ValueError:
            raise ParameterError(f"{parameter.name}:={text} is not allowed; allowed: {parameter.allowed}") from None
    return parameter.check(value)


def common_arguments() -> list[Action]:
    """Arguments that every launch file of this package has, and what follows from them."""
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
            default_value=str(resource("config/fastdds.xml")),
            description="Fast DDS profile for the nodes started here: 16 MB of shared memory, without "
            "which best-effort images over 0.5 MB get lost. Left alone if the environment "
            "names a profile; empty: none.",
        ),
        OpaqueFunction(function=_set_profile),
    ]


def _set_profile(context: LaunchContext) -> list[Action]:
    profile = LaunchConfiguration("fastdds_profile").perform(context)
    if not profile or any(context.environment.get(name) for name in PROFILE_VARIABLES):
        return []
    if not Path(profile).is_file():
        raise FileNotFoundError(f"fastdds_profile:={profile} is not a file")
    return [SetEnvironmentVariable(name, profile) for name in PROFILE_VARIABLES]


def sim_time(context: LaunchContext) -> dict[str, bool]:
    """The parameter use_sim_time as the argument says."""
    return {"use_sim_time": LaunchConfiguration("use_sim_time").perform(context) == "true"}


def topic(namespace: str, name: str) -> str:
    """Absolute name of `name` in `namespace`; a name that is absolute already stays as it is."""
    return name if name.startswith("/") else f"/{namespace.strip('/')}/{name}".replace("//", "/")
