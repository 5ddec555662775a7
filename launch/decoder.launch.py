"""The workstation's half: Bitstream and the other camera's images in, pictures out."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from mdic_ros.nodes.launching import arguments, common_arguments, given, sim_time, topic
from mdic_ros.nodes.parameters import DECODER
from mdic_ros.resources import resource

PARAMETERS = (
    "model",
    "device",
    "dtype",
    "threads",
    "side_transport",
    "steps",
    "seed",
    "caption",
    "caption_every",
    "rectify",
    "sync_slop_s",
    "side_wait_s",
    "on_missing_side",
)


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "coded_namespace",
                default_value="/stereo/left",
                description="Namespace of the camera that is coded, where its bitstream and stream_info "
                "are. The decoder runs in it and publishes image_reconstructed, "
                "image_reconstructed/camera_info, mask and report.",
            ),
            DeclareLaunchArgument(
                "side_namespace",
                default_value="/stereo/right",
                description="Namespace of the side camera, whose images reach this machine by other means.",
            ),
            DeclareLaunchArgument(
                "side_image",
                default_value="image_raw",
                description="Image topic of the side camera, in side_namespace or absolute, without the "
                "suffix /compressed, which side_transport:=compressed adds.",
            ),
            DeclareLaunchArgument(
                "decoder_config",
                default_value=str(resource("config/decoder.yaml")),
                description="Parameter file of the decoder. Arguments given to this launch file override it.",
            ),
            *arguments(DECODER, PARAMETERS),
            *common_arguments(),
            OpaqueFunction(function=decoder),
        ]
    )


def decoder(context: LaunchContext) -> list[Node]:
    side = topic(
        LaunchConfiguration("side_namespace").perform(context),
        LaunchConfiguration("side_image").perform(context),
    )
    return [
        Node(
            package="mdic_ros",
            executable="decoder_node",
            name="decoder",
            namespace=LaunchConfiguration("coded_namespace"),
            parameters=[
                LaunchConfiguration("decoder_config"),
                {**given(context, DECODER, PARAMETERS), **sim_time(context)},
            ],
            # The camera's own camera_info may be in the same namespace, and the encoder listens to that.
            remappings=[("side/image", side), ("camera_info", "image_reconstructed/camera_info")],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            output="screen",
        )
    ]
