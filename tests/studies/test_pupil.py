"""The small model: several questions at once are answered as one at a time, and sound meets pictures in time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from reelm.data.questions import Question
from reelm.errors import UsageError
from reelm.studies.films import Sample
from reelm.studies.pupil import Batch, Pupil, Vocabulary, batch_of, layout, loss_of
from reelm.studies.seen import Seen
from studies.small import CONNECTOR, WIDTH

WORDS = Vocabulary.of(["Which object appears first?", "What colour is the ball?", "ball", "red", "hum", "fish"])


class Fixed:
    """Films of four random pictures."""

    seen = Seen(torch.randn(4, 2, 2, WIDTH).half(), torch.arange(4)[None])


def batch(*texts: str, sound: bool = False) -> Batch:
    asked = tuple(Question("object", text, "ball", 2) for text in texts)
    track = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32) if sound else None
    return batch_of(Fixed(), WORDS, [Sample(np.arange(4), asked, ("ball", "hum"), sound=track)])


def pupil(ears: str = "none", connector: dict | None = CONNECTOR) -> Pupil:
    torch.manual_seed(0)
    return Pupil(connector, WORDS, WIDTH, 2, 5, ears).eval()


@torch.no_grad()
def test_questions_do_not_see_each_other() -> None:
    model = pupil()
    first, second = "Which object appears first?", "What colour is the ball?"
    together = model(batch(first, second))
    torch.testing.assert_close(together[:, 0], model(batch(first))[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together[:, 1], model(batch(second))[:, 0], atol=1e-5, rtol=1e-5)
    assert (together[:, 0] - together[:, 1]).abs().max() > 1e-3


def test_a_question_sees_all_media_and_itself_and_its_places_go_on_from_them() -> None:
    places, mask = layout(3, 2, 2)
    assert places.tolist() == [[0, 1, 2, 3, 4, 3, 4]]
    seen = (mask[0, 0] == 0).int().tolist()
    assert seen[4] == [1, 1, 1, 1, 1, 0, 0] and seen[6] == [1, 1, 1, 0, 0, 1, 1] and seen[1] == [1, 1, 0, 0, 0, 0, 0]


def test_absent_questions_cost_nothing() -> None:
    one, two = batch("Which object appears first?"), batch("Which object appears first?", "What colour is the ball?")
    absent = replace(two, answers=torch.tensor([[int(one.answers[0, 0]), -100]]))
    torch.testing.assert_close(loss_of(pupil(), absent), loss_of(pupil(), one))


@pytest.mark.parametrize(("ears", "connector", "tokens"), [
    ("none", CONNECTOR, 8), ("tokens", CONNECTOR, 16), ("fused", CONNECTOR, 8), ("alone", None, 8)])
def test_each_way_of_hearing_has_its_tokens_and_learns(ears: str, connector: dict | None, tokens: int) -> None:
    model, heard = pupil(ears, connector), batch("Which object appears first?", sound=True)
    assert model.tokens(heard).shape == (1, tokens, WIDTH)
    loss_of(model, heard).backward()
    unused = {n for n, p in model.named_parameters() if p.grad is None}
    assert unused == set()
    changed = replace(heard, sound=heard.sound + 1)
    different = (model.tokens(changed) - model.tokens(heard)).abs().max() > 1e-4
    assert different == (ears != "none")


def test_fused_sound_reaches_the_pictures_of_its_moment_only() -> None:
    model = pupil("fused", {"kind": "linear", "in_width": WIDTH, "out_width": WIDTH})
    quiet = batch("Which object appears first?", sound=True)
    sound = quiet.sound.clone()
    sound[:, 2:4] += 1  # eight slices over four pictures: the second picture
    moved = (model.tokens(replace(quiet, sound=sound)) - model.tokens(quiet)).abs().amax((0, 2)).reshape(4, 4)
    assert (moved.amax(1) > 1e-4).tolist() == [False, True, False, False]


def test_naming_asks_for_the_words_of_the_streams_an_arm_has() -> None:
    heard = batch("Which object appears first?", sound=True)
    asked = {ears: {WORDS.words[i] for i in pupil(ears, connector).named}
             for ears, connector in (("none", CONNECTOR), ("tokens", CONNECTOR), ("alone", None))}
    assert asked == {"none": {"ball", "fish", "red"}, "tokens": {"ball", "fish", "red", "hum"}, "alone": {"hum"}}
    assert pupil("none", None).naming_loss(heard.pictures, heard) == 0


def test_one_token_near_each_word_is_enough_and_words_for_absent_things_cost() -> None:
    model, heard = pupil(), batch("Which object appears first?")
    words = model.language.embed_tokens.weight
    with torch.no_grad():
        model.sureness.copy_(torch.tensor([8.0, -4.0]))
        words.copy_(torch.eye(*words.shape))
        ball, fish = (words[WORDS.words.index(w)] for w in ("ball", "fish"))
        nothing = torch.zeros(1, 6, WIDTH)
        right, wrong = nothing.clone(), nothing.clone()
        right[0, 4], wrong[0, 1] = ball, fish
        losses = [float(model.naming_loss(tokens, heard)) for tokens in (right, right.flip(1), nothing, wrong)]
    assert losses[0] == losses[1] < losses[2] < losses[3]


def test_an_unknown_word_is_an_error() -> None:
    with pytest.raises(UsageError, match="trombone"):
        WORDS.ids("Which trombone?")
