"""Replays a KITTI folder or a bag through encoder and decoder, without `ros2 bag`, and ends after the last picture.

ros2 launch mdic_ros kitti_replay.launch.py path:=2011_09_26/2011_09_26_drive_0005_sync rate:=0.5
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from mdic_ros.nodes.launching import (
    arguments,
    common_arguments,
    given,
    play,
    raw_images,
    ready_timeout,
    recorded_time,
    replay_player,
)
from mdic_ros.nodes.parameters import REPLAY

HERE = Path(__file__).parent
PARAMETERS = [REPLAY[name] for name in ("layout", "rate", "loop")]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument("path", description=REPLAY["path"].text),
            *arguments(PARAMETERS),
            DeclareLaunchArgument(
                "pipeline",
                default_value="true",
                choices=["true", "false"],
                description="Start encoder and decoder too, and play when they are ready; false: only play.",
            ),
            *ready_timeout(),
            OpaqueFunction(function=recorded_time),
            *raw_images(),
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


def replay(context: LaunchContext) -> list[Action]:
    pipeline = LaunchConfiguration("pipeline").perform(context) == "true"
    parameters = {
        "path": LaunchConfiguration("path").perform(context),
        **given(context, PARAMETERS),
        "publish_clock": True,
        "wait_for_subscribers": pipeline,
    }
    return play(context, replay_player(context, parameters), ("encoder", "decoder") if pipeline else ())
