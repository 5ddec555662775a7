"""The robot's half: one camera in, a Bitstream of a few hundred bytes a frame out."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from mdic_ros.nodes.launching import coder, coder_arguments, topic
from mdic_ros.nodes.parameters import ENCODER


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "coded_namespace",
                default_value="/stereo/left",
                description="Namespace of the camera that is coded. The encoder runs in it and publishes "
                "bitstream and stream_info there.",
            ),
            DeclareLaunchArgument(
                "coded_image",
                default_value="image_raw",
                description="Image topic of the coded camera, in coded_namespace or absolute, without "
                "the suffix /compressed, which transport:=compressed adds. camera_info is expected beside it.",
            ),
            *coder_arguments(ENCODER),
            OpaqueFunction(function=encoder),
        ]
    )


def encoder(context: LaunchContext) -> list[Node]:
    image = topic(
        LaunchConfiguration("coded_namespace").perform(context),
        LaunchConfiguration("coded_image").perform(context),
    )
    # ROS keeps a camera's calibration beside its images.
    camera_info = image.rpartition("/")[0] + "/camera_info"
    return [coder(context, ENCODER, [("image", image), ("camera_info", camera_info)])]
