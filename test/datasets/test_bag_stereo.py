from __future__ import annotations

from typing import Any

import pytest

from mdic_ros.datasets import DatasetError
from mdic_ros.datasets.bag import Topic
from mdic_ros.datasets.bag_stereo import stereo_topics
from mdic_ros.datasets.messages import COMPRESSED_IMAGE, IMAGE


def topics(*names: str) -> dict[str, Any]:
    return {n: Topic(COMPRESSED_IMAGE if n.endswith("compressed") else IMAGE, 1) for n in names}


def test_stereo_topics() -> None:
    color, grey = "/kitti/camera_color_{}/image_raw", "/kitti/camera_gray_{}/image_raw"
    kitti = [t.format(side) for t in (color, grey) for side in ("left", "right")]
    assert stereo_topics(topics(*kitti)) == (color.format("left"), color.format("right"))
    both = [
        "/s/left/image_raw",
        "/s/right/image_raw",
        "/s/left/image_raw/compressed",
        "/s/right/image_raw/compressed",
    ]
    assert stereo_topics(topics(*both)) == (both[0], both[1])
    assert stereo_topics(topics("/a", "/b"), "/b", "/a") == ("/b", "/a")
    rigs = topics("/front/left/image", "/front/right/image", "/rear/left/image", "/rear/right/image")
    with pytest.raises(DatasetError, match="several"):
        stereo_topics(rigs)
    assert stereo_topics(rigs, "/rear/left/image") == ("/rear/left/image", "/rear/right/image")
    arms = topics(*(f"/{arm}_arm/{side}/image" for arm in ("left", "right") for side in ("left", "right")))
    assert stereo_topics(arms, "/left_arm/left/image") == ("/left_arm/left/image", "/left_arm/right/image")
    assert stereo_topics(topics("/left/left_image", "/right/right_image")) == ("/left/left_image", "/right/right_image")
    with pytest.raises(DatasetError, match=r"--left-topic.*/a, /b"):
        stereo_topics(topics("/a", "/b"))
    with pytest.raises(DatasetError, match="no images in topic /c"):
        stereo_topics(topics("/a", "/b"), "/c", "/a")
    with pytest.raises(DatasetError, match="none"):
        stereo_topics({})
