import pytest

from mdic_ros.nodes.fast_dds import PROFILE, profile_environment
from mdic_ros.resources import resource

OLD, NEW = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"


@pytest.mark.parametrize(
    ("distribution", "names"),
    [("humble", {OLD}), ("jazzy", {OLD}), ("kilted", {NEW}), ("lyrical", {NEW}), ("", {OLD, NEW})],
)
def test_the_variable_is_that_of_the_distributions_fast_dds(distribution, names):
    profile = str(resource(PROFILE))
    assert profile_environment({"ROS_DISTRO": distribution}) == dict.fromkeys(names, profile)
    assert profile_environment({"ROS_DISTRO": distribution}, "mine.xml") == dict.fromkeys(names, "mine.xml")


@pytest.mark.parametrize("name", [OLD, NEW])
@pytest.mark.parametrize("distribution", ["jazzy", "kilted"])
def test_a_profile_of_the_user_stays(name, distribution):
    assert profile_environment({name: "mine.xml", "ROS_DISTRO": distribution}) == {}
