"""Films show what their answers say, tests share no scene with training, and one stream alone tells no agreement."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from reelm.data.world import held_out, scene
from reelm.kernels.sprites import KINDS
from reelm.studies.films import EMPTY, Flashes, Intruders, Sounding, Timeline, WorldClips, moments
from reelm.studies.seen import Parades, Seen
from reelm.studies.tones import SOUNDS, Tones

CLIPS = 128
KINDS_OF = [[a.kind for a in Parades(Path("unused"), 11, 5).scene(i)[0].actors] for i in range(CLIPS)]


def films(kind: type, **settings: object):
    """Films of parades whose pictures are just numbers: row 5·parade + picture."""
    rows = torch.arange(CLIPS * 5)
    pictures = rows[:, None, None, None].expand(-1, 2, 2, 1).half()
    found = Seen(pictures, rows.view(CLIPS, 5))
    return kind(found, Parades(Path("unused"), 11, 5), 1, **settings)


def names(sample) -> list[str]:
    """What a sample shows, look by look; "" where the stage is empty."""
    rows = [divmod(int(r), 5) for r in sample.pictures]
    return ["" if at == EMPTY else KINDS_OF[parade][at] for parade, at in rows]


def answers(sample) -> dict[str, str]:
    return {q.type: q.answer for q in sample.asked}


def test_a_timeline_shows_each_picture_until_its_end() -> None:
    timeline = Timeline((4, 1, 4), (1.0, 1.5, 4.0))
    assert timeline.at(np.array([0.0, 0.99, 1.0, 1.49, 1.5, 3.9])).tolist() == [4, 4, 1, 1, 4, 4]


def test_flashes_that_are_looked_at_closely_are_all_seen() -> None:
    close, coarse = (films(Flashes, frames=n, seconds=4.0) for n in (400, 4))
    missed = 0
    for number in range(60):
        sample = close.test(number)
        shown = [name for name, _ in groupby(names(sample)) if name]
        told = answers(sample)
        assert told == {"first": shown[0], "last": shown[-1], "number": str(len(shown))}
        few = coarse.test(number)
        assert answers(few) == told, "the same film, whatever the number of looks"
        missed += len(set(names(few)) - {""}) < len(shown)
        assert set(sample.there) & set(KINDS) == set(shown), "what is there is what the looks show"
        assert set(few.there) & set(KINDS) == set(names(few)) - {""}
    assert missed > 30


def test_an_intruder_is_there_for_the_shorter_time_and_brief_ones_slip_through_at_one_look_a_second() -> None:
    slow, fast = (films(Intruders, frames=n, seconds=6.0) for n in (6, 36))
    caught = 0
    for number in range(60):
        shown, told = names(fast.test(number)), answers(fast.test(number))
        assert shown.count(told["long"]) > shown.count(told["brief"]) >= 0
        assert set(shown) == {told["long"], told["brief"]}
        caught += told["brief"] in names(slow.test(number))
    assert 5 < caught < 35  # 0.15 to 0.4 s of film, one look a second
    trained = [fast.train(0, n) for n in range(40)]
    seconds = [names(sample).count(answers(sample)["brief"]) / 6 for sample in trained]
    assert min(seconds) > 0.8, "films to train on have longer intruders"
    asked_at_six = films(Intruders, frames=6, seconds=6.0, test_frames=36)
    assert len(asked_at_six.test(0).pictures) == 36 and len(asked_at_six.train(0, 0).pictures) == 6


class Written(Tones):
    """Tones that write down which sound is in which slice."""

    def track(self, rng, slices, sounds, tested):
        names = ("", *SOUNDS)
        return np.array([[names.index(sounds.get(i, ""))] for i in range(slices)], np.float32)


def test_sounds_and_pictures_agree_exactly_where_the_answer_says_so() -> None:
    heard = films(Sounding, frames=16, seconds=4.0, tones=Written())
    kinds = {"yes": 0, "no": 0, "told": 0}
    for number in range(300):
        sample = heard.test(number)
        shown, told = names(sample), answers(sample)
        track = [("", *SOUNDS)[int(s[0])] for s in sample.sound]
        at = [i for i, s in enumerate(track) if s]
        entries = [i for i in range(1, 16) if shown[i] != shown[i - 1]]
        assert len(at) == 3 and len(entries) == 3
        if "agree" in told:
            assert (at == entries) == (told["agree"] == "yes")
            kinds[told["agree"]] += 1
            continue
        kinds["told"] += 1
        words = {q.type: q.text for q in sample.asked}
        there = next(i for i in at if f"the {track[i]}?" in words["when"])
        assert shown[there] == told["when"]
        order = list(dict.fromkeys(shown))
        rank = next(r for r in ("first", "second", "third", "last") if r in words["shown"])
        assert order[("first", "second", "third", "last").index(rank)] == told["shown"]
        rank = next(r for r in ("first", "second", "last") if r in words["heard"])
        assert track[at[("first", "second", "last").index(rank)]] == told["heard"]
    assert all(count > 50 for count in kinds.values())


def test_neither_stream_alone_tells_whether_they_agree() -> None:
    """The best rule on the places of the sounds alone, or of the entrances, learnt from many films, is a guess."""
    heard = films(Sounding, frames=16, seconds=4.0, tones=Written())
    places: dict[str, list[list[int]]] = {"sound": [], "picture": []}
    labels = []
    for number in range(3000):
        sample = heard.train(0, number)
        told = answers(sample)
        if "agree" not in told:
            continue
        labels.append(told["agree"] == "yes")
        places["sound"].append([int(s[0] > 0) for s in sample.sound])
        places["picture"].append((np.diff(sample.pictures, prepend=sample.pictures[0]) != 0).astype(int).tolist())
    y = np.array(labels, float)
    half = len(y) // 2
    assert abs(y.mean() - 0.5) < 0.05
    right = {}
    for stream, rows in places.items():
        x = np.c_[np.array(rows, float), np.ones(len(y))]
        weight = np.linalg.lstsq(x[:half], y[:half], rcond=None)[0]
        right[stream] = float(((x[half:] @ weight > 0.5) == (y[half:] > 0.5)).mean())
    assert right["picture"] < 0.56 and right["sound"] < 0.56, right


def test_clips_to_test_on_are_never_trained_on_and_all_are_pure_functions(small_stock) -> None:
    from studies.small import study

    clips = small_stock.maker(study("connectors"), lambda text: None)({})
    assert isinstance(clips, WorldClips)
    trained = {int(r) for n in range(300) for r in clips.train(3, n).pictures}
    tested = {int(r) for n in range(60) for r in clips.test(n).pictures}
    assert not trained & tested
    again = clips.train(3, 17)
    assert again.asked == clips.train(3, 17).asked and again.asked != clips.train(4, 17).asked
    assert {q.type for n in range(100) for q in clips.test(n).asked} == {"object", "colour", "direction", "count",
                                                                         "order"}


def test_a_mirrored_sample_has_mirrored_pictures(small_stock) -> None:
    from studies.small import study

    clips = small_stock.maker(study("connectors"), lambda text: None)({})
    mirrored = next(s for s in (clips.train(0, n) for n in range(50)) if s.mirrored)
    plain = type(mirrored)(mirrored.pictures, mirrored.asked)
    shown = moments(clips, [mirrored, plain])
    assert torch.equal(shown[0], shown[1].flip(2)) and not torch.equal(shown[0], shown[1])


def test_new_recordings_of_every_sound_are_told_apart_by_one_linear_map() -> None:
    bank = Tones().bank
    names = ("", *SOUNDS)

    def rows(tested: bool) -> tuple[np.ndarray, np.ndarray]:
        x = np.concatenate([bank[name, tested] for name in names])
        return np.c_[x, np.ones(len(x))].astype(float), np.repeat(np.arange(len(names)), 24)

    (x, y), (new, truth) = rows(False), rows(True)
    weight = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ np.eye(len(names))[y])
    right = (new @ weight).argmax(1) == truth
    assert right.reshape(len(names), -1).mean(1).min() > 0.9


def test_parades_have_four_objects_then_nothing_and_only_combinations_of_training() -> None:
    staged, at = Parades(Path("unused"), 11, 5).scene(3)
    shown = [[a.kind for a in staged.actors if a.at(float(u)) is not None] for u in at]
    assert [len(s) for s in shown] == [1, 1, 1, 1, 0] and len({s[0] for s in shown[:4]}) == 4
    assert not any(held_out(a.kind, a.colour) for a in staged.actors) and staged != scene(3, "parade")
