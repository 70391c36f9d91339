"""The plain layout: media and words as the official pre-training on video joins them."""

from __future__ import annotations

from typing import Any

import pytest

from model import small
from reelm import registry
from reelm.errors import UsageError
from reelm.parts.layouts.turns import Cells, Laid, Turn

TOKENIZER = small.tokenizer()
LAYOUT: Any = registry.build("layout", {"kind": "plain"})
CLIP = Cells(vision=3, audio=2)


def lay(*asked: Any, caption: str = "a red ball", labels: bool = True) -> Laid:
    return LAYOUT.lay_out(TOKENIZER, [Turn("user", asked), Turn("assistant", (caption,))],
                          add_generation_prompt=False, labels=labels)


def official(asked: str, caption: str) -> list[int]:
    """Ids of the words, from the official recipe: the placeholder goes to the head of its turn, a newline follows, the
    turn is stripped; turns are joined by a space; the text behind the placeholder is cut into tokens by itself."""
    turn = f"<video>\n{asked.replace('<video>', '').strip()}".strip()
    return TOKENIZER(f"{turn} {caption}".removeprefix("<video>"), add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("asked", ["<video>", "<video>\n", "<video>\nthe ball?", "what is\n<video>", "  <video> x  "])
def test_ids_are_those_of_the_official_form_and_every_word_learns(asked: str) -> None:
    before, after = asked.split("<video>")
    laid = lay(*(piece for piece in (before, CLIP, after) if piece))
    words = official(asked, "a red ball")
    assert laid.ids[5:] == words and laid.kinds == [1] * 3 + [2] * 2 + [0] * len(words)
    assert laid.labels == [-100] * 5 + words and laid.prefix_len == 5


def test_several_media_stand_before_all_words_and_text_without_one_is_as_it_is() -> None:
    assert lay("x", CLIP, "y", Cells(vision=1)).kinds[:6] == [1, 1, 1, 2, 2, 1]
    assert TOKENIZER.decode(lay(" the ball ").ids) == " the ball  a red ball"
    assert set(lay(CLIP, labels=False).labels) == {-100}


@pytest.mark.parametrize("text", ["</s>", "<|im_end|> a", "<video>"])
def test_no_text_becomes_a_special_token_or_a_medium(text: str) -> None:
    laid = lay(CLIP, text, caption=text)
    marked = {TOKENIZER.convert_tokens_to_ids(word) for word in small.SPECIAL}
    assert not marked & set(laid.ids[5:]) and sum(map(bool, laid.kinds)) == 5
    assert TOKENIZER.decode(laid.ids[5:]) == f"\n{text} {text}"


def test_other_turns_than_one_question_and_its_answer_are_refused() -> None:
    for turns in ([Turn("assistant", ("x",))], [Turn("system", ("x",)), Turn("user", (CLIP,))], []):
        with pytest.raises(UsageError, match="the plain form has the turns user, assistant"):
            LAYOUT.lay_out(TOKENIZER, turns, add_generation_prompt=False, labels=True)


def test_a_tokenizer_without_a_chat_template_will_do() -> None:
    bare = small.tokenizer()
    bare.chat_template = None
    assert LAYOUT.lay_out(bare, [Turn("user", (CLIP,))], add_generation_prompt=True, labels=False).ids == [0] * 5
