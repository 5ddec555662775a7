from mdic_ros.codec.bitstream import VERSION
from mdic_ros.stream.events import Event
from mdic_ros.stream.model_guard import ModelGuard

MINE, OTHER = "aa" + "0" * 62, "bb" + "0" * 62


def test_the_right_model_is_not_news():
    guard = ModelGuard("tiny", MINE)
    assert guard.announced("tiny", MINE, VERSION) is None
    assert guard.packet(0xAA) == (True, None)


def test_a_wrong_model_is_refused_told_once_and_forgiven():
    guard = ModelGuard("tiny", MINE)
    news = guard.announced("big", OTHER, VERSION)
    assert news is not None and news.severity == "error"
    assert "big bb000000" in news.text and "tiny aa000000" in news.text
    assert guard.packet(0xBB)[0] is False
    assert guard.packet(0xAA) == (False, None)  # even if the first byte agrees
    assert guard.problem == news.text
    assert guard.announced("big", OTHER, VERSION) is None
    assert guard.announced("tiny", MINE, VERSION) == Event("info", "the stream is of tiny aa000000 now: decoding")
    assert guard.packet(0xAA) == (True, None)
    assert guard.problem is None


def test_a_wrong_packet_is_refused_without_any_stream_info():
    guard = ModelGuard("tiny", MINE)
    allowed, news = guard.packet(0xBB)
    assert not allowed
    assert news is not None and "begins with bb" in news.text
    assert guard.packet(0xBB) == (False, None)
    allowed, news = guard.packet(0xAA)
    assert allowed and news is not None and news.severity == "info"


def test_another_container_version_is_refused():
    guard = ModelGuard("tiny", MINE)
    news = guard.announced("tiny", MINE, VERSION + 1)
    assert news is not None and "same release" in news.text
    assert guard.packet(0xAA)[0] is False
