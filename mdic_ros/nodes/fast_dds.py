"""The profile for Fast DDS that ships with this package, and the environment variable that names it.

Without it, best-effort images over 0.5 MB get lost: config/fastdds.xml says why.
"""

from __future__ import annotations

from collections.abc import Mapping

from mdic_ros.resources import resource

PROFILE = "config/fastdds.xml"

# Fast DDS 2 reads the first name; Fast DDS 3 the second, and with the first one ROS warns at every start.
_NAMES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
_WITH_FAST_DDS_2 = ("humble", "iron", "jazzy")


def profile_environment(environment: Mapping[str, str], profile: str = "") -> dict[str, str]:
    """What to add to a process's environment; nothing if the user has named a profile there.

    Args:
        environment: the environment of that process as it is.
        profile: path of the profile; empty: the one of this package.
    """
    if any(environment.get(name) for name in _NAMES):
        return {}
    distribution = environment.get("ROS_DISTRO", "")
    old, new = _NAMES
    names = _NAMES if not distribution else (old,) if distribution in _WITH_FAST_DDS_2 else (new,)
    return dict.fromkeys(names, profile or str(resource(PROFILE)))
