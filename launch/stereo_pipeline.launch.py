"""Encoder and decoder of one stereo pair, both on one machine or each half where it belongs.

    ros2 launch mdic_ros stereo_pipeline.launch.py
    ros2 launch mdic_ros stereo_pipeline.launch.py role:=robot target_bitrate_kbps:=20
    ros2 launch mdic_ros stereo_pipeline.launch.py role:=workstation steps:=4
    ros2 launch mdic_ros stereo_pipeline.launch.py bag:=drive coded_namespace:=/kitti/camera_color_left \\
        side_namespace:=/kitti/camera_color_right
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetLaunchConfiguration,
)
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PythonExpression

HERE = Path(__file__).parent


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "role",
                default_value="both",
                choices=["robot", "workstation", "both"],
                description="Which half runs on this machine: the encoder (robot), the decoder "
                "(workstation) or both.",
            ),
            DeclareLaunchArgument(
                "bag",
                default_value="",
                description="Bag to play with `ros2 bag play`, with its own clock (use_sim_time becomes "
                "true unless it is given); empty: none. Namespaces and transports must be "
                "those of its topics.",
            ),
            DeclareLaunchArgument(
                "bag_rate", default_value="1.0", description="Speed at which the bag is played."
            ),
            DeclareLaunchArgument(
                "bag_loop",
                default_value="false",
                choices=["true", "false"],
                description="Play the bag again and again.",
            ),
            DeclareLaunchArgument(
                "bag_delay",
                default_value="15.0",
                description="Seconds from start to the first message of the bag, for the nodes to load "
                "their model.",
            ),
            OpaqueFunction(function=play_bag),
            half("encoder", unless="workstation"),
            half("decoder", unless="robot"),
        ]
    )


def half(name: str, unless: str) -> IncludeLaunchDescription:
    """The launch file of one half, with the arguments given to this one."""
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(HERE / f"{name}.launch.py")),
        condition=IfCondition(PythonExpression(["'", LaunchConfiguration("role"), f"' != '{unless}'"])),
    )


def play_bag(context: LaunchContext) -> list[Action]:
    bag = LaunchConfiguration("bag").perform(context)
    if not bag:
        return []
    command = ["ros2", "bag", "play", bag, "--clock", "100"]
    command += ["--rate", LaunchConfiguration("bag_rate").perform(context)]
    command += ["--delay", LaunchConfiguration("bag_delay").perform(context)]
    if LaunchConfiguration("bag_loop").perform(context) == "true":
        command.append("--loop")
    actions: list[Action] = [ExecuteProcess(cmd=command, output="screen")]
    if "use_sim_time" not in context.launch_configurations:
        actions.append(SetLaunchConfiguration("use_sim_time", "true"))
    return actions
