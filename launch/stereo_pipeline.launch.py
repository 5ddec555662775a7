r"""Encoder and decoder of one stereo pair, both on one machine or each half where it belongs.

    ros2 launch mdic_ros stereo_pipeline.launch.py
    ros2 launch mdic_ros stereo_pipeline.launch.py role:=robot target_bitrate_kbps:=20
    ros2 launch mdic_ros stereo_pipeline.launch.py role:=workstation steps:=4
    ros2 launch mdic_ros stereo_pipeline.launch.py bag:=drive coded_namespace:=/kitti/camera_color_left \
        side_namespace:=/kitti/camera_color_right

With `bag` the recording is played when the nodes are ready, and the launch ends when it has ended and the last picture
is out. Without it the nodes run until Ctrl-C.
"""

from dataclasses import replace
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    SetLaunchConfiguration,
)
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PythonExpression

from mdic_ros.nodes.launching import (
    LaunchError,
    bag_player,
    has_bag_player,
    play,
    raw_images,
    ready_timeout,
    recorded_time,
    replay_player,
    value_of,
)
from mdic_ros.nodes.parameters import REPLAY

HERE = Path(__file__).parent
NODES = {"robot": ("encoder",), "workstation": ("decoder",), "both": ("encoder", "decoder")}
BAG_RATE = replace(REPLAY["rate"], name="bag_rate")


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "role",
                default_value="both",
                choices=list(NODES),
                description="Which half runs on this machine: the encoder (robot), the decoder (workstation) or both.",
            ),
            DeclareLaunchArgument(
                "bag",
                default_value="",
                description="Bag to play with its own clock (use_sim_time becomes true unless it is given) when the "
                "nodes are ready; empty: none. `ros2 bag play` keeps the bag's topics, so namespaces and transports "
                "must be those of the bag; replay_node publishes raw images in the namespaces of this launch.",
            ),
            DeclareLaunchArgument(
                "player",
                default_value="auto",
                choices=["auto", "ros2_bag", "replay_node"],
                description="What plays the bag: `ros2 bag play`, which plays all its topics, or this package's "
                "replay_node, which plays the images of the two cameras. auto: the first one if it is installed.",
            ),
            DeclareLaunchArgument(
                "bag_rate",
                default_value="1.0",
                description=f"Speed at which the bag is played. Allowed: {BAG_RATE.allowed}.",
            ),
            DeclareLaunchArgument(
                "bag_loop",
                default_value="false",
                choices=["true", "false"],
                description="Play the bag again and again.",
            ),
            *ready_timeout(),
            OpaqueFunction(function=prepare),
            half("encoder", unless="workstation"),
            half("decoder", unless="robot"),
            OpaqueFunction(function=play_bag),
        ]
    )


def half(name: str, unless: str) -> IncludeLaunchDescription:
    """The launch file of one half, with the arguments given to this one."""
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(HERE / f"{name}.launch.py")),
        condition=IfCondition(PythonExpression(["'", LaunchConfiguration("role"), f"' != '{unless}'"])),
    )


def prepare(context: LaunchContext) -> list[Action]:
    """Before a node starts: refuse what cannot be played, choose the player."""
    bag, role, player = (LaunchConfiguration(name).perform(context) for name in ("bag", "role", "player"))
    if not bag:
        return []
    value_of(BAG_RATE, LaunchConfiguration("bag_rate").perform(context))
    if not Path(bag).exists():
        raise LaunchError(f"bag:={bag}: no such file or folder")
    actions = recorded_time(context)
    if player == "auto":
        player = "ros2_bag" if has_bag_player() else "replay_node"
        actions.append(SetLaunchConfiguration("player", player))
        if player == "replay_node":
            missing = "`ros2 bag play` is not installed (apt install ros-$ROS_DISTRO-ros2bag)"
            if role == "workstation":
                raise LaunchError(f"{missing}, and replay_node plays images, no packets: nothing would be decoded")
            actions.append(LogInfo(msg=f"{missing}: replay_node plays the images of the two cameras instead, raw"))
    return actions + raw_images() if player == "replay_node" else actions


def play_bag(context: LaunchContext) -> list[Action]:
    bag, role, player = (LaunchConfiguration(name).perform(context) for name in ("bag", "role", "player"))
    if not bag:
        return []
    rate = value_of(BAG_RATE, LaunchConfiguration("bag_rate").perform(context))
    loop = LaunchConfiguration("bag_loop").perform(context) == "true"
    if player == "ros2_bag":
        command = bag_player(bag, rate, loop)
    else:
        parameters = {"path": bag, "rate": rate, "loop": loop, "publish_clock": True}
        command = replay_player(context, {**parameters, "wait_for_subscribers": role == "both"})
    return play(context, command, NODES[role])
