from mdic_ros.stream.captions import CaptionKeeper


class Captioner:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, side: object) -> str:
        self.calls += 1
        return f"{side} {self.calls}"


def test_captions_are_refreshed_every_n_frames():
    captioner = Captioner()
    keeper = CaptionKeeper(captioner)
    captions = [keeper.caption("street", wanted="auto", every=3) for _ in range(7)]
    assert captions == ["street 1"] * 3 + ["street 2"] * 3 + ["street 3"]


def test_a_fixed_caption_wins_and_is_given_back_at_once():
    captioner = Captioner()
    keeper = CaptionKeeper(captioner)
    assert keeper.caption("street", wanted="auto", every=10) == "street 1"
    assert keeper.caption("street", wanted="a red car", every=10) == "a red car"
    assert captioner.calls == 1
    assert keeper.caption("street", wanted="auto", every=10) == "street 2"


def test_without_a_side_image_there_is_nothing_to_describe():
    captioner = Captioner()
    keeper = CaptionKeeper(captioner)
    assert keeper.caption(None, wanted="auto", every=1) == ""
    assert keeper.caption("street", wanted="", every=1) == ""  # asked for: no text
    assert keeper.caption("street", wanted="none", every=1) == ""
    assert keeper.caption(None, wanted="fog", every=1) == "fog"
    assert captioner.calls == 0
