"""The workstation's half: Bitstream and the other camera's images in, pictures out."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from mdic_ros.nodes.launching import coder, coder_arguments, topic
from mdic_ros.nodes.parameters import DECODER


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
            *coder_arguments(DECODER),
            OpaqueFunction(function=decoder),
        ]
    )


def decoder(context: LaunchContext) -> list[Node]:
    side = topic(
        LaunchConfiguration("side_namespace").perform(context),
        LaunchConfiguration("side_image").perform(context),
    )
    # The camera's own camera_info may be in the same namespace, and the encoder listens to that.
    return [coder(context, DECODER, [("side/image", side), ("camera_info", "image_reconstructed/camera_info")])]
