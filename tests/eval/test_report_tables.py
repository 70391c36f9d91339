"""What a report counts is what counting by hand gives."""

from __future__ import annotations

import pytest

from reelm.eval.report_tables import both_readers, charts, confusions, differences, phases, readers_differ, remarks
from reelm.eval.runner import Row
from reelm.tasks.base import Item, Scored, Task, find

TEST = find("perception_test_validation")
SOUNDS = find("vocalsound")


def choices(task: Task, *said: tuple[int, str], turn: int = 0) -> list[Scored]:
    """A question of three options per pair of (the right place, the reply)."""
    rows = []
    for number, (right, reply) in enumerate(said):
        options = ("red", "green", "blue")
        item = task.choice(str(number), f"v{number}", (), "Which?", options[turn * number % 3:] + options[:turn * number
                           % 3], right)
        rows.append(Scored(item, reply, task.score(item, reply)))
    return rows


def test_letters_are_counted_right_by_said_and_what_nobody_can_read_is_none():
    rows = [*choices(TEST, (0, "A"), (0, "B"), (1, "(B)"), (2, "C."), (2, "I cannot say"), (1, "no"))]
    (options,) = [one for one in confusions(TEST, rows) if "careful" in one.title]
    assert options.title.startswith("Options") and options.rows == ("red", "green", "blue")
    assert options.columns == ("red", "green", "blue", "none")
    assert options.counts == ((1, 1, 0, 0), (0, 1, 0, 1), (0, 0, 1, 1))
    assert sum(options.counts[i][i] for i in range(3)) == sum(row.scores["accuracy"] for row in rows)
    assert options.share(0, 1) == 50


def test_the_published_reader_has_a_matrix_of_its_own_where_it_differs():
    rows = choices(TEST, (2, "I cannot say"), (0, "A"))
    careful, published = confusions(TEST, rows)
    assert careful.counts[2] == (0, 0, 0, 1) and published.counts[2] == (0, 0, 1, 0)
    assert [readers_differ(TEST, row) for row in rows] == [True, False]
    both = both_readers(TEST, rows)
    assert both is not None and both.rows == ("right", "wrong") and both.counts == ((1, 0), (1, 0))
    assert both_readers(TEST, choices(TEST, (0, "A"))) is None and len(confusions(TEST, choices(TEST, (0, "A")))) == 1


def test_where_the_options_change_places_letters_and_options_are_told_apart():
    rows = choices(TEST, (0, "A"), (0, "A"), (0, "B"), turn=1)  # red, then green, then blue is right; red is said third
    letters, options = confusions(TEST, rows)
    assert letters.rows == ("A", "B", "C") and letters.counts[0] == (2, 1, 0, 0)
    assert options.counts == ((1, 0, 0, 0), (0, 1, 0, 0), (1, 0, 0, 0))


def test_open_answers_from_a_small_set_have_a_matrix_and_others_none():
    task = find("music_avqa")
    asked = [Scored(Item(str(i), "v", (), "How many?", answer=right), said, {}) for i, (right, said) in enumerate(
        [("two", "Two."), ("two", "three"), ("three", "3"), ("yes", "a piano"), ("two", "2")])]
    (table,) = confusions(task, asked)
    assert table.rows == ("three", "two", "yes") and table.columns == ("three", "two", "yes", "other")
    assert table.counts == ((1, 0, 0, 0), (1, 2, 0, 0), (0, 0, 0, 1))
    assert confusions(task, asked[:1]) == [] == confusions(task, [asked[0], asked[2]])


def test_figures_stand_on_the_scale_they_have():
    ends = {"low": 0.1, "high": 0.9}
    unit, grades, counts = charts("all", {"accuracy": {"value": 0.5, **ends, "chance": 0.25, "n": 4},
                                          "score": {"value": 2.5, **ends}, "incomplete": {"value": 1.0, **ends}})
    assert (unit.right, grades.right, counts.left, counts.right) == (1.0, 5.0, 0.0, 0.0)
    assert unit.at(0.25) == "25.00%" and grades.at(2.5) == "50.00%" and unit.at(7) == "100.00%"
    assert unit.bars[0].chance == 0.25 and grades.bars[0].chance is None
    (apart,) = differences("one minus other", {"accuracy": {"value": -0.5, "low": -0.7, "high": 0.0}})
    assert apart.at(-0.5) == "25.00%" and apart.at(0) == "50.00%"
    (many,) = charts("many", {str(i): {"value": 0.0, **ends} for i in range(230)})
    assert len(many.bars) == 200 and many.left_out == 30


def test_seconds_are_spread_over_bins_and_notes_that_differ_in_numbers_are_one_kind():
    item = Item("a", "v", (), "?")
    rows = [Row(Scored(item, "", {}), seconds={"decode": s, "total": 0.0}, notes=(f"{n} frames are missing",),
                stop="length" if n == 3 else "end", error="is broken" if n == 2 else "")
            for n, s in enumerate((1.0, 2.0, 3.0, 4.0))]
    decode, total = phases(rows)
    assert (decode.middle_s, decode.most_s, decode.longest_s, decode.items) == (2.0, 4.0, 4.0, 4)
    assert sum(decode.bins) == 4 and [place for place, count in enumerate(decode.bins) if count] == [6, 12, 18, 23]
    assert total.bins[0] == 4 and phases([Row(Scored(item, "", {}))]) == []
    told, more = remarks(rows)
    assert told == [("note", "0 frames are missing", 4), ("ended", "end", 3), ("error", "is broken", 1),
                    ("ended", "length", 1)] and more == 0


@pytest.mark.parametrize("reply", ["", "D", "\u202e\x00"])
def test_replies_that_say_nothing_count_as_none(reply):
    (table,) = confusions(SOUNDS, [Scored(item := SOUNDS.choice("a", "v", (), "?", SOUNDS.sounds, 1), reply,
                                          SOUNDS.score(item, reply))])
    assert sum(map(sum, table.counts)) == 1 and (table.counts[1][-1] == 1 or reply == "D")
