from mdic_ros.codec.bitstream import VERSION
from mdic_ros.stream.events import Event
from mdic_ros.stream.model_guard import ModelGuard

MINE, OTHER = "aa" + "0" * 62, "bb" + "0" * 62
OURS_NOW = Event("info", "the stream is of tiny aa000000 now: decoding", "model")


def test_the_right_model_is_not_news():
    guard = ModelGuard("tiny", MINE)
    assert guard.announced("tiny", MINE, VERSION) is None
    assert guard.refuses(0xAA) == ""
    assert guard.confirmed() is None


def test_a_wrong_model_is_refused_told_once_and_forgiven():
    guard = ModelGuard("tiny", MINE)
    news = guard.announced("big", OTHER, VERSION)
    assert news is not None and news.severity == "error"
    assert "big bb000000" in news.text and "tiny aa000000" in news.text
    assert guard.refuses(0xBB) == guard.refuses(0xAA) == guard.problem == news.text  # even if the first byte agrees
    assert guard.announced("big", OTHER, VERSION) is None
    assert guard.announced("tiny", MINE, VERSION) == OURS_NOW
    assert guard.refuses(0xAA) == guard.problem == ""


def test_without_stream_info_packets_of_another_model_are_a_problem_until_one_of_ours_is_checked():
    guard = ModelGuard("tiny", MINE)
    assert "begins with bb" in guard.refuses(0xBB)
    assert guard.refuses(0xAA) == ""
    assert "begins with bb" in guard.problem  # anybody can write that byte
    assert guard.confirmed() == OURS_NOW
    assert guard.problem == ""


def test_forged_bytes_change_nothing_about_a_stream_that_is_known():
    guard = ModelGuard("tiny", MINE)
    guard.announced("tiny", MINE, VERSION)
    for byte in (0xBB, 0xAA, 0xCC) * 3:
        assert bool(guard.refuses(byte)) == (byte != 0xAA)
        assert guard.problem == ""
        assert guard.confirmed() is None


def test_another_container_version_is_refused():
    guard = ModelGuard("tiny", MINE)
    news = guard.announced("tiny", MINE, VERSION + 1)
    assert news is not None and "same release" in news.text
    assert guard.refuses(0xAA) == news.text
