"""Needles are in the files, where and when the answer key says; nothing about a question gives its answer away."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from reelm import media
from reelm.errors import MediaError, UsageError
from reelm.media import write_video
from reelm.tasks.base import Scored, find
from reelm.tasks.niah_make import ANNOTATION, Settings, make
from reelm.tasks.niah_needles import Needle, drawn
from reelm.tasks.niah_questions import OF_OWN, SUBTASKS, riddle
from reelm.types import Audio, Clip
from tasks.miniatures.niah import clips, hidden


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All nine sub-tasks, one question each, in two clips of 9 s."""
    return hidden(tmp_path_factory.mktemp("niah"), tuple(SUBTASKS), 1, seconds=9.0, count=2)


def entries(root: Path) -> list[dict]:
    return [entry for entry in json.loads((root / ANNOTATION).read_text("utf-8")) if entry["try"] == 0]


def shown(path: Path, at_s: list[float]) -> np.ndarray:
    with media.open(Clip(path)) as reader:
        return reader.frames(at_s).rgb.transpose(0, 2, 3, 1).astype(int)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def looked(entry: dict, root: Path) -> str:
    """An answer found by looking only: each needle's moment is compared with what every candidate would look like."""
    kind = "text" if entry["type"].endswith(("_edit", "edit1")) else "picture"
    found = []
    names = [name for option in entry["options"] for name in option.split(", ")]
    for at in entry["needle_time"]:
        (frame,) = shown(root / entry["video"], [at + 0.5])
        blank = np.full_like(frame, 110, dtype=np.uint8)
        lower = slice(int(0.8 * len(frame)), None) if kind == "text" else slice(None)
        found.append(min(dict.fromkeys(names), key=lambda name: apart(
            frame[lower], drawn(blank, [Needle(kind, name)])[lower])))
    return ", ".join(found)


@pytest.mark.parametrize("kind", [kind for kind in SUBTASKS if not kind.startswith("cnt")])
def test_whoever_looks_at_the_right_moments_can_answer(root, kind):
    (entry,) = [entry for entry in entries(root) if entry["type"] == kind]
    assert looked(entry, root) == entry["gt"]


def test_needles_drawn_on_a_clip_leave_its_other_moments_alone(root):
    for entry in entries(root):
        if "insert" in entry["type"]:
            continue
        hay = root.parents[1] / "clips" / entry["haystack"]
        times = [k / 8 for k in range(round(entry["length"] * 8))]
        covered = [any(at <= t < at + entry["needle_s"] for at in entry["needle_time"]) for t in times]
        changes = [apart(a, b) for a, b in zip(shown(root / entry["video"], times), shown(hay, times), strict=True)]
        clear = max(change for change, under in zip(changes, covered, strict=True) if not under)
        assert min(change for change, under in zip(changes, covered, strict=True) if under) > clear, entry["type"]


def test_pictures_put_in_lengthen_the_clip_and_everything_between_stays_in_order(root):
    for entry in entries(root):
        if "insert" not in entry["type"]:
            continue
        hay = root.parents[1] / "clips" / entry["haystack"]
        times = [k / 8 for k in range(round(entry["length"] * 8))]
        kept = [t for t in times if not any(at <= t < at + 1 for at in entry["needle_time"])]
        assert len(kept) == 72 == len(times) - 8 * len(entry["needle_time"])
        rest = shown(root / entry["video"], kept)
        assert max(apart(a, b) for a, b in zip(rest, shown(hay, [k / 8 for k in range(72)]), strict=True)) < 6


def test_counted_needles_are_as_many_as_the_answer_says(root):
    for entry in entries(root):
        if entry["type"] in ("cnt_edit1", "cnt_insert"):
            assert len(entry["needle_time"]) == int(entry["gt"])
    for seed in range(200):
        asked = riddle("cnt_edit2", np.random.default_rng(seed))
        assert sum(map(len, asked.moments)) == int(asked.answer)
        assert all(len({needle.at for needle in moment}) == len(moment) for moment in asked.moments)
    colour = drawn(np.zeros((90, 120, 3), np.uint8), [Needle("object", "red square", (x, 0.5)) for x in (0.2, 0.8)])
    columns = (colour[..., 0] > 150).any(0)
    assert int(np.diff(columns.astype(int)).clip(0).sum()) == 2  # two squares with a gap between


def test_sound_is_silent_under_a_picture_that_was_put_in_and_goes_on_after_it(tmp_path):
    tone = Audio(np.sin(np.arange(16_000 * 6) * 0.3).astype(np.float32)[None] * 0.5, 16_000)
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "a.mp4", (np.full((32, 48, 3), i, np.uint8) for i in range(48)), 8, tone)
    made = make(tmp_path / "in", tmp_path / "out", Settings(each=1, kinds=("ret_insert1",)))
    (entry,) = entries(made.root)
    (at,) = entry["needle_time"]
    with media.open(Clip(made.root / entry["video"])) as reader:
        heard = reader.audio(16_000)
    assert heard is not None and heard.duration_s == pytest.approx(7.0, abs=0.1)

    def loud(start: float, end: float) -> float:
        part = heard.wave[0, round((start - heard.start_s) * 16_000):round((end - heard.start_s) * 16_000)]
        return float(np.sqrt((part ** 2).mean()))

    assert loud(at + 0.1, at + 0.9) < 0.02
    assert all(loud(second, second + 0.5) > 0.3 for second in (at - 0.7, at + 1.2) if 0.1 < second < 6.3)


def test_the_same_seed_gives_the_same_files_and_another_seed_others(tmp_path):
    hay = clips(tmp_path / "clips")
    kinds = ("ret_edit", "cnt_edit2")
    first = make(hay, tmp_path / "a", Settings(each=1, kinds=kinds)).root
    again = make(hay, tmp_path / "b", Settings(each=1, kinds=kinds)).root
    other = make(hay, tmp_path / "a", Settings(each=1, kinds=kinds, seed=1)).root
    names = sorted(path.name for path in first.iterdir())
    assert {f"{kind}_0.mp4" for kind in kinds} < set(names) == {path.name for path in again.iterdir()}
    assert all((first / name).read_bytes() == (again / name).read_bytes() for name in names)
    assert first.name == again.name != other.name
    assert (first / ANNOTATION).read_bytes() != (other / ANNOTATION).read_bytes()


def test_an_interrupted_making_goes_on_where_it_stopped(tmp_path):
    hay = clips(tmp_path / "clips")
    settings = Settings(each=1, kinds=("ret_edit", "cnt_insert"))
    whole = make(hay, tmp_path / "a", settings)
    before = (whole.root / ANNOTATION).read_bytes()
    (whole.root / ANNOTATION).unlink()
    (whole.root / "cnt_insert_0.json").unlink()
    stamp = (whole.root / "ret_edit_0.mp4").stat().st_mtime_ns
    assert make(hay, tmp_path / "a", settings) == whole
    assert (whole.root / ANNOTATION).read_bytes() == before
    assert (whole.root / "ret_edit_0.mp4").stat().st_mtime_ns == stamp


def test_short_and_broken_clips_are_passed_over_and_told(tmp_path):
    hay = clips(tmp_path / "clips", seconds=6.0)
    (hay / "notes.txt").write_text("no video")
    write_video(hay / "short.mp4", (np.full((32, 48, 3), i, np.uint8) for i in range(8)), 8)
    made = make(hay, tmp_path / "out", Settings(each=9, kinds=("ord_edit",), height_px=48))
    assert {entry["haystack"] for entry in entries(made.root)} == {"hay0.mp4"}
    assert any("notes.txt" in line for line in made.notes)
    assert any("short.mp4" in line and "1.00 s are too short for 4 needles, which need 5.50 s" in line
               for line in made.notes)
    (hay / "hay0.mp4").unlink()
    with pytest.raises(MediaError, match="none of 1 clips can be used for ord_edit"):
        make(hay, tmp_path / "out", Settings(each=1, kinds=("ord_edit",)))
    with pytest.raises(UsageError, match="not a folder"):
        make(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(UsageError, match="no sub-task nap"):
        Settings(kinds=("nap",))


def test_pictures_of_ones_own_are_hidden_under_the_names_of_their_files(tmp_path):
    hay, own = clips(tmp_path / "clips"), tmp_path / "own"
    own.mkdir()
    inks = {"red_fox": (200, 40, 30), "blue-jay": (40, 60, 200), "frog": (40, 160, 60), "night": (5, 5, 5)}
    for number, (name, ink) in enumerate(inks.items()):
        PIL.Image.new("RGB", (60 + 30 * number, 80), ink).save(own / f"{name}.png")
    (own / "notes.txt").write_text("no picture")
    made = make(hay, tmp_path / "out", Settings(each=1, kinds=("ret_insert1",)), needles=own)
    (entry,) = entries(made.root)
    assert sorted(entry["options"]) == ["blue jay", "frog", "night", "red fox"]
    assert any("notes.txt" in note for note in made.notes)
    (frame,) = shown(made.root / entry["video"], [entry["needle_time"][0] + 0.5])
    middle = frame[len(frame) // 2, frame.shape[1] // 2]
    seen = min(inks, key=lambda name: float(np.abs(middle - inks[name]).sum()))
    assert seen.replace("_", " ").replace("-", " ") == entry["gt"]
    for kind in SUBTASKS:
        named = riddle(kind, np.random.default_rng(1), ["fox", "jay", "frog", "night"])
        assert any(word in f"{named.options} {named.text}" for word in ("fox", "jay", "frog")) == (kind in OF_OWN)
    (own / "night.png").unlink()
    with pytest.raises(MediaError, match="holds 3 pictures that can be read, 4 are needed"):
        make(hay, tmp_path / "out", Settings(each=1), needles=own)
    PIL.Image.new("RGB", (9, 9)).save(own / "Frog.png")
    with pytest.raises(UsageError, match="two pictures are called"):
        make(hay, tmp_path / "out", Settings(each=1), needles=own)


@pytest.mark.parametrize("kind", SUBTASKS)
def test_nothing_but_looking_helps(kind):
    """However a guesser uses the options, with all that is known of how they are made, it is right once in four."""
    asked = [riddle(kind, np.random.default_rng([7, seed])) for seed in range(2000)]
    assert all(len(set(one.options)) == 4 and one.answer in one.options for one in asked)
    places = Counter(one.options.index(one.answer) for one in asked)
    ranks = Counter(sorted(one.options).index(one.answer) for one in asked)
    assert all(abs(places[i] - 500) < 90 and abs(ranks[i] - 500) < 90 for i in range(4))  # 4.6 standard deviations


def test_all_four_turns_of_the_options_are_asked_and_only_all_four_count(root):
    niah = find("niah")
    items = list(niah.items(root))
    assert len(items) == 36 and len({item.facts["group"] for item in items}) == 9
    for group in {item.facts["group"] for item in items}:
        turns = [item for item in items if item.facts["group"] == group]
        assert sorted(item.answer for item in turns) == list("ABCD")
        assert len({item.options["ABCD".index(item.answer)] for item in turns}) == 1

    def figures(reply) -> dict[str, float]:
        return niah.summary([Scored(item, reply(item), niah.score(item, reply(item))) for item in items])

    knows = figures(niah.oracle)
    assert knows["circular"] == knows["official_circular"] == 1.0
    assert sum(niah.score(item, "A")["accuracy"] for item in items) == 9
    always_a = figures(lambda item: "A")
    assert always_a["circular"] == always_a["official_circular"] == 0.0
    # Right on every question but only in an unlucky spelling: the two readings part, and both are told.
    wordy = figures(lambda item: f"Answer: {item.answer}")
    assert wordy["circular"] == 1.0 and wordy["official_circular"] == 0.0


def test_a_wrong_annotation_is_told_with_its_entry(tmp_path):
    good = {"video": "a.mp4", "question": "?", "options": ["1", "2", "3", "4"], "gt": "2", "type": "cnt_edit1",
            "try": 0}
    for change, message in (({"gt": "7"}, "do not hold the answer"), ({"try": "0"}, "'try' is '0', expected int")):
        (tmp_path / ANNOTATION).write_text(json.dumps([good, good | change]))
        with pytest.raises(UsageError, match=message) as error:
            list(find("niah").items(tmp_path))
        assert "entry 1" in str(error.value)
