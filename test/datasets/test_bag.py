from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdic_ros.datasets import DatasetError, ImageError, open_stereo, write_bag
from mdic_ros.datasets.bag import (
    BITSTREAM,
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    DECODE_REPORT,
    IMAGE,
    STREAM_INFO,
    BagReader,
    BagWriter,
    Storage,
    make,
    make_camera_info,
    make_compressed_image,
    make_header,
    make_image,
    nearest,
    pair_nearest,
    peek_header,
    stamp_ns,
    typestore,
)
from mdic_ros.datasets.bag_stereo import stereo_topics
from mdic_ros.datasets.images import RGB, encode_image

SECOND = 1_000_000_000
PICTURE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def compressed(stamp: int, data: bytes | None = None) -> Any:
    return make_compressed_image(make_header(stamp, "c"), "png", data or encode_image(PICTURE, "png"))


def write_pairs(path: Path, stamps: list[int], right_stamps: list[int], **options: Any) -> None:
    with BagWriter(path, **options) as writer:
        for side, times in (("left", stamps), ("right", right_stamps)):
            for stamp in times:
                writer.write(f"/stereo/{side}/image_raw", make_image(make_header(stamp, side), PICTURE), stamp)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_our_messages_round_trip(tmp_path: Path, storage: Storage) -> None:
    header = make_header(1_317_042_272_345_808_896, "camera_color_left")
    data = bytes(range(256))
    sent = make(BITSTREAM, header=header, sequence=2**32 - 1, data=np.frombuffer(data, np.uint8))
    with BagWriter(tmp_path / "b", storage=storage) as writer:
        writer.write("/left/bitstream", sent, 5 * SECOND)
    with BagReader(tmp_path / "b") as reader:
        assert reader.topics["/left/bitstream"].msgtype == BITSTREAM
        (message,) = reader.messages()
        assert message.time_ns == 5 * SECOND
        assert peek_header(message.data) == (1_317_042_272_345_808_896, "camera_color_left")
        got = reader.decode(message)
    assert bytes(got.data) == data
    assert got.sequence == 2**32 - 1
    assert stamp_ns(got.header) == 1_317_042_272_345_808_896


def test_types_are_those_of_the_msg_files() -> None:
    folder = Path(__file__).parents[2] / "msg"
    for msgtype in (BITSTREAM, STREAM_INFO, DECODE_REPORT):
        text = (folder / f"{msgtype.rpartition('/')[2]}.msg").read_text()
        declared = [line.split()[1] for line in text.splitlines() if line and not line.startswith("#")]
        assert [name for name, _ in typestore().fielddefs[msgtype][1]] == declared


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_qos_is_offered_for_latched_topics_only(tmp_path: Path, storage: Storage) -> None:
    with BagWriter(tmp_path / "b", storage=storage) as writer:
        writer.add_topic("/latched", COMPRESSED_IMAGE, latched=True)
        writer.write("/latched", compressed(1), 1)
        writer.write("/plain", compressed(1), 1)
    import yaml

    meta = yaml.safe_load((tmp_path / "b" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    qos = {
        t["topic_metadata"]["name"]: t["topic_metadata"]["offered_qos_profiles"]
        for t in meta["topics_with_message_count"]
    }
    assert qos["/plain"] == ""
    (profile,) = yaml.safe_load(qos["/latched"])
    assert (profile["durability"], profile["reliability"], profile["depth"]) == (1, 1, 1)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_nothing_is_left_after_a_failure(tmp_path: Path, storage: Storage) -> None:
    with pytest.raises(RuntimeError), BagWriter(tmp_path / "b", storage=storage) as writer:
        writer.write("/x", compressed(1), 1)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_existing_bags_are_replaced_only_when_told_and_only_on_success(tmp_path: Path) -> None:
    path = tmp_path / "b"
    write_pairs(path, [1], [1])
    with pytest.raises(DatasetError, match="--force"):
        BagWriter(path)
    with pytest.raises(RuntimeError), BagWriter(path, overwrite=True):
        raise RuntimeError
    assert len(open_stereo(path)) == 1
    write_pairs(path, [1, SECOND], [1, SECOND], overwrite=True)
    assert len(open_stereo(path)) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_not_a_bag_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("x")
    with pytest.raises(DatasetError, match="not a bag folder"):
        BagWriter(tmp_path / "home", overwrite=True)
    assert (tmp_path / "home" / "thesis.tex").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot write"):
        BagWriter(tmp_path / "file" / "bag")


def test_damaged_bags_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bag"
    write_pairs(path, [1, 2], [1, 2])
    storage = next(path.glob("*.mcap"))
    whole = storage.read_bytes()
    cases = {
        "cut": lambda: storage.write_bytes(whole[: len(whole) // 2]),
        "empty": lambda: storage.write_bytes(b""),
        "garbage": lambda: storage.write_bytes(b"\x07" * 5000),
        "missing": lambda: storage.unlink(),
        "metadata": lambda: (path / "metadata.yaml").write_text("[}"),
        "no metadata": lambda: (path / "metadata.yaml").unlink(),
    }
    for damage in cases.values():
        damage()
        with pytest.raises(DatasetError, match=str(path)):
            open_stereo(path, "bag")
    with pytest.raises(DatasetError, match="no such"):
        BagReader(tmp_path / "nothing.mcap")


def test_another_version_of_our_messages_is_refused(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "b") as writer:
        message = make(BITSTREAM, header=make_header(1, ""), sequence=0, data=np.zeros(3, np.uint8))
        writer.write("/bitstream", message, 1)
    meta = tmp_path / "b" / "metadata.yaml"
    meta.write_text(meta.read_text().replace(typestore().hash_rihs01(BITSTREAM), "RIHS01_" + "0" * 64))
    with BagReader(tmp_path / "b") as reader, pytest.raises(DatasetError, match="another version"):
        reader.decode(next(iter(reader.messages())))


def test_images_and_infos_of_a_written_bag(kitti_raw: Path, tmp_path: Path) -> None:
    source = open_stereo(kitti_raw)
    seen: list[int] = []
    result = write_bag(source, tmp_path / "b", progress=seen.append)
    assert (result.frames, result.broken, seen) == (4, [], [1, 2, 3, 4])
    with BagReader(tmp_path / "b") as reader:
        topics = reader.topics
        assert {name: (t.msgtype, t.count) for name, t in topics.items()} == {
            f"/kitti/camera_color_{side}/{name}": (msgtype, 4)
            for side in ("left", "right")
            for name, msgtype in (("image_raw", IMAGE), ("camera_info", CAMERA_INFO))
        }
        first = next(iter(reader.messages(["/kitti/camera_color_right/image_raw"])))
        image = reader.decode(first)
        assert (image.encoding, image.header.frame_id) == ("bgr8", "camera_color_right")
        assert stamp_ns(image.header) == first.time_ns == source[0].right_stamp_ns
        info = reader.decode(next(iter(reader.messages(["/kitti/camera_color_right/camera_info"]))))
        assert info.distortion_model == "plumb_bob"
        np.testing.assert_array_equal(info.d, np.zeros(5))
        assert stamp_ns(info.header) == source[0].right_stamp_ns
        times = [m.time_ns for m in reader.messages()]
        assert times == sorted(times)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("images", ["raw", "png", "jpeg"])
def test_bag_reads_back_as_the_recording_it_was(kitti_raw: Path, tmp_path: Path, storage: Any, images: Any) -> None:
    source = open_stereo(kitti_raw)
    write_bag(source, tmp_path / "b", storage=storage, images=images)
    with open_stereo(tmp_path / "b") as bag:
        assert (bag.layout, len(bag)) == ("bag", 4)
        assert bag.left.topic == source.left.topic
        assert bag.right.frame_id == source.right.frame_id
        assert bag.right_info is not None
        assert bag.right_info.same_as(source.right_info)
        for frame, original in zip(bag, source, strict=True):
            assert (frame.stamp_ns, frame.right_stamp_ns) == (original.stamp_ns, original.right_stamp_ns)
            difference = np.abs(frame.right.astype(int) - original.right).mean()
            assert difference < 2 if images == "jpeg" else difference == 0


def test_png_files_travel_byte_by_byte(kitti_raw: Path, tmp_path: Path) -> None:
    write_bag(open_stereo(kitti_raw), tmp_path / "b", images="png")
    with BagReader(tmp_path / "b") as reader:
        message = next(iter(reader.messages(["/kitti/camera_color_left/image_raw/compressed"])))
        assert bytes(reader.decode(message).data) == next(kitti_raw.rglob("image_02/data/*00.png")).read_bytes()


def test_grey_stays_mono8(kitti_raw: Path, tmp_path: Path) -> None:
    write_bag(open_stereo(kitti_raw, cameras="gray"), tmp_path / "b")
    with open_stereo(tmp_path / "b") as bag:
        assert bag.left.encoding == "mono8"
        assert bag.left.topic == "/kitti/camera_gray_left/image_raw"


def test_one_broken_image_is_reported_and_the_rest_goes_on(kitti_raw: Path, tmp_path: Path) -> None:
    path = next(kitti_raw.rglob("image_03/data/0000000002.png"))
    path.write_bytes(path.read_bytes()[:100])
    result = write_bag(open_stereo(kitti_raw), tmp_path / "b")
    assert result.frames == 3
    (sentence,) = result.broken
    assert "0000000002" in sentence
    assert str(path) in sentence
    with open_stereo(tmp_path / "b") as bag:
        assert len(bag) == 3


def test_sizes_of_a_pair_must_agree(folder: Path, tmp_path: Path) -> None:
    encoded = encode_image(np.zeros((75, 240, 3), np.uint8), "png")
    (folder / "right" / "000.png").write_bytes(encoded)
    result = write_bag(open_stereo(folder), tmp_path / "b")
    assert result.frames == 2
    assert "248x75 and 240x75" in result.broken[0]
    assert str(folder / "right" / "000.png") in result.broken[0]


def test_all_broken_leaves_no_bag(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "left").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(DatasetError, match="not one frame"):
        write_bag(open_stereo(folder), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_broken_image_in_a_bag(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "b") as writer:
        for index in range(3):
            for side in ("left", "right"):
                data = b"broken" if (index, side) == (1, "left") else None
                writer.write(f"/s/{side}/image_raw/compressed", compressed(index * SECOND, data), index * SECOND)
    with open_stereo(tmp_path / "b") as source:
        assert source.left.topic == "/s/left/image_raw"
        assert source[2].left.shape == PICTURE.shape
        with pytest.raises(ImageError, match=r"/s/left/image_raw/compressed at 1\.0"):
            _ = source[1].left


def test_images_recorded_at_the_same_time_are_told_apart(tmp_path: Path) -> None:
    pictures: list[RGB] = [np.full((4, 6, 3), value, np.uint8) for value in (10, 20)]
    with BagWriter(tmp_path / "b") as writer:
        for index, picture in enumerate(pictures):
            for side in ("left", "right"):
                message = make_image(make_header(index * SECOND, side), picture)
                writer.write(f"/{side}/image", message, 7 * SECOND)
    with open_stereo(tmp_path / "b") as source:
        assert [int(f.right[0, 0, 0]) for f in source] == [10, 20]


def test_pairs_by_nearest_stamp(tmp_path: Path) -> None:
    ms = 1_000_000
    write_pairs(tmp_path / "b", [0, 100 * ms, 200 * ms, 300 * ms], [1 * ms, 99 * ms, 260 * ms, 310 * ms])
    with open_stereo(tmp_path / "b") as source:
        assert [(f.stamp_ns // ms, f.right_stamp_ns // ms) for f in source] == [(0, 1), (100, 99), (300, 310)]
        assert (source.unpaired_left, source.unpaired_right) == (1, 1)  # type: ignore[attr-defined]
    with pytest.raises(DatasetError, match="one clock"):
        write_pairs(tmp_path / "c", [0], [SECOND])
        open_stereo(tmp_path / "c")


def topics(*names: str) -> dict[str, Any]:
    from mdic_ros.datasets.bag import Topic

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


stamps = st.lists(st.integers(0, 2000), max_size=30).map(sorted)


@settings(deadline=None)
@given(stamps, st.integers(0, 2000), st.integers(0, 300))
def test_nearest(values: list[int], stamp: int, slop: int) -> None:
    found = nearest(values, stamp, slop)
    distances = [abs(v - stamp) for v in values]
    if found is None:
        assert not distances or min(distances) > slop
    else:
        assert distances[found] == min(distances) <= slop


@settings(deadline=None)
@given(stamps, stamps, st.integers(0, 300))
def test_pairs_are_one_to_one(left: list[int], right: list[int], slop: int) -> None:
    pairs = pair_nearest(left, right, slop)
    for side in zip(*pairs, strict=True):
        assert len(set(side)) == len(side)
    assert all(abs(left[i] - right[j]) <= slop for i, j in pairs)
    assert pairs == sorted(pairs)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_hostile_headers(data: bytes) -> None:
    try:
        stamp, frame_id = peek_header(data)
    except DatasetError:
        return
    assert isinstance(stamp, int)
    assert len(frame_id) < len(data)


def test_camera_info_message() -> None:
    message = make_camera_info(make_header(1, "x"), None)
    assert message.k[0] == 0
    typestore().serialize_cdr(message, CAMERA_INFO)


@pytest.mark.ros
def test_ros_reads_our_messages_and_knows_them_by_the_same_hash(tmp_path: Path) -> None:
    """What players and recorders of a real ROS 2 see: CDR bytes, and the type hash of the built messages."""
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    messages = pytest.importorskip("mdic_ros.msg", reason="mdic_ros.msg is not built")
    from rclpy.serialization import deserialize_message, serialize_message

    info = make_camera_info(make_header(7, "c"), None)
    header = make_header(1_317_042_272_345_808_896, "camera_color_left")
    sent = {
        BITSTREAM: make(BITSTREAM, header=header, sequence=9, data=np.arange(5, dtype=np.uint8)),
        STREAM_INFO: make(
            STREAM_INFO, header=header, height=375, width=1242, coded_height=128, coded_width=256, encoding="bgr8",
            model_id="m", fingerprint="f" * 64, stream_version=1, rate_points=5, camera_info=info,
        ),
    }  # fmt: skip
    for msgtype, message in sent.items():
        built = getattr(messages, msgtype.rpartition("/")[2])
        data = bytes(typestore().serialize_cdr(message, msgtype))
        received = deserialize_message(data, built)
        assert received.header.stamp.nanosec == 345_808_896
        assert received.header.frame_id == "camera_color_left"
        again = typestore().deserialize_cdr(serialize_message(received), msgtype)
        assert bytes(typestore().serialize_cdr(again, msgtype)) == data
    shares = [parent / "share" / "mdic_ros" / "msg" for parent in Path(messages.__file__).parents]
    folder = next(share for share in shares if share.is_dir())
    for msgtype in (BITSTREAM, STREAM_INFO, DECODE_REPORT):
        described = json.loads((folder / f"{msgtype.rpartition('/')[2]}.json").read_text())
        (digest,) = (t["hash_string"] for t in described["type_hashes"] if t["type_name"] == msgtype)
        assert digest == typestore().hash_rihs01(msgtype)
