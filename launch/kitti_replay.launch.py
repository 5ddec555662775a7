"""Replays a KITTI folder or a bag through encoder and decoder, without `ros2 bag`, and stops at its end.

ros2 launch mdic_ros kitti_replay.launch.py path:=2011_09_26/2011_09_26_drive_0005_sync rate:=0.5
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetLaunchConfiguration,
    Shutdown,
)
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from mdic_ros.nodes.launching import arguments, common_arguments, given, topic
from mdic_ros.nodes.parameters import REPLAY

HERE = Path(__file__).parent
PARAMETERS = ("layout", "rate", "loop")


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument("path", description=REPLAY["path"].text),
            *arguments(REPLAY, PARAMETERS),
            DeclareLaunchArgument(
                "pipeline",
                default_value="true",
                choices=["true", "false"],
                description="Start encoder and decoder too, and play as soon as they listen; false: only "
                "play.",
            ),
            OpaqueFunction(function=recorded_time),
            *(
                IncludeLaunchDescription(
                    PythonLaunchDescriptionSource(str(HERE / f"{half}.launch.py")),
                    condition=IfCondition(LaunchConfiguration("pipeline")),
                )
                for half in ("encoder", "decoder")
            ),
            # Declared by the halves too; here for pipeline:=false.
            DeclareLaunchArgument(
                "coded_namespace",
                default_value="/stereo/left",
                description="Namespace of the coded camera's topics: the left one, or with view:=right the right.",
            ),
            DeclareLaunchArgument(
                "side_namespace",
                default_value="/stereo/right",
                description="Namespace of the other camera's topics.",
            ),
            *common_arguments(),
            OpaqueFunction(function=replay),
        ]
    )


def recorded_time(context: LaunchContext) -> list[Action]:
    """The replay gives out the recording's time on /clock; the others follow it unless told otherwise."""
    if "use_sim_time" in context.launch_configurations:
        return []
    return [SetLaunchConfiguration("use_sim_time", "true")]


def replay(context: LaunchContext) -> list[Action]:
    coded = LaunchConfiguration("coded_namespace").perform(context)
    side = LaunchConfiguration("side_namespace").perform(context)
    parameters = {
        "path": LaunchConfiguration("path").perform(context),
        **given(context, REPLAY, PARAMETERS),
        "publish_clock": True,
        "wait_for_subscribers": LaunchConfiguration("pipeline").perform(context) == "true",
    }
    names = ("image_raw", "camera_info")
    right_coded = context.launch_configurations.get("view") == "right"
    left, right = (side, coded) if right_coded else (coded, side)
    return [
        Node(
            package="mdic_ros",
            executable="replay_node",
            name="replay",
            parameters=[parameters],
            remappings=[(f"left/{name}", topic(left, name)) for name in names]
            + [(f"right/{name}", topic(right, name)) for name in names],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            output="screen",
            on_exit=[Shutdown(reason="the recording has ended")],
        )
    ]
