"""The robot's half: one camera in, a Bitstream of a few hundred bytes a frame out."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from mdic_ros.nodes.launching import arguments, common_arguments, given, sim_time, topic
from mdic_ros.nodes.parameters import ENCODER
from mdic_ros.resources import resource

PARAMETERS = (
    "model",
    "device",
    "threads",
    "transport",
    "view",
    "rate_point",
    "max_bytes_per_frame",
    "target_bitrate_kbps",
    "max_rate_hz",
    "coded_height",
    "coded_width",
)


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
            DeclareLaunchArgument(
                "encoder_config",
                default_value=str(resource("config/encoder.yaml")),
                description="Parameter file of the encoder. Arguments given to this launch file override it.",
            ),
            *arguments(ENCODER, PARAMETERS),
            *common_arguments(),
            OpaqueFunction(function=encoder),
        ]
    )


def encoder(context: LaunchContext) -> list[Node]:
    namespace = LaunchConfiguration("coded_namespace").perform(context)
    image = topic(namespace, LaunchConfiguration("coded_image").perform(context))
    return [
        Node(
            package="mdic_ros",
            executable="encoder_node",
            name="encoder",
            namespace=namespace,
            parameters=[
                LaunchConfiguration("encoder_config"),
                {**given(context, ENCODER, PARAMETERS), **sim_time(context)},
            ],
            # ROS keeps a camera's calibration beside its images.
            remappings=[("image", image), ("camera_info", image.rpartition("/")[0] + "/camera_info")],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            output="screen",
        )
    ]
