"""What samples are made of."""

from __future__ import annotations

from reelm.data.batch import tickets


def test_a_mix_is_drawn_by_its_shares_and_goes_through_every_set_in_order() -> None:
    mix, sizes = [("clips", None, 3.0), ("clips", "sounds", 1.0)], {"clips": 50, "sounds": 30}
    order = tickets(mix, sizes, 400, 3)
    both = [one for one in order if one.media == "both"]
    assert 70 < len(both) < 130 and order == tickets(mix, sizes, 400, 3)
    assert [one.clip for one in order] == [number % 50 for number in range(400)]
    assert [one.track for one in both] == [number % 30 for number in range(len(both))]
