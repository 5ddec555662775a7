"""MDIC on ROS 2: distributed image compression for stereo cameras. `mdic_ros.codec` is the way in."""

from pkgutil import extend_path

__version__ = "0.1.0"

# `mdic_ros.msg` is generated into the install tree. With a source checkout in front of it on sys.path
# (tests, live edits) the messages are still found there; in an installed package this line changes nothing.
__path__ = extend_path(__path__, __name__)
