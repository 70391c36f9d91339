"""The `chat` layout: the tokenizer's own chat template, with media cells that no text can forge."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from jinja2 import TemplateError
from pydantic import Field

from reelm.config import PartConfig
from reelm.errors import UsageError
from reelm.parts.layouts.turns import Cells, Laid, Layout, Turn
from reelm.registry import part
from reelm.types import AUDIO, TEXT, VISION

IGNORED = -100

#: System text that the published Mistral-family models were asked with; the tags stand inside the text itself.
VIDEOLLAMA2_SYSTEM = (
    "<<SYS>>\n"
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe.  "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering something "
    "not correct. If you don't know the answer to a question, please don't share false information.\n"
    "<</SYS>>"
)


@part("layout", "chat")
class Chat(Layout):
    """The chat template of the tokenizer; every medium is a run of cells followed by a newline.

    The text around media is tokenised piece by piece, without added special tokens, as the official code does; this
    matters to tokenizers that mark the start of a text.

    Guaranteed: cells come from media only, whatever a text contains. A text that spells a token of the tokenizer's
    added vocabulary (`<|im_end|>`, `</s>`) never becomes that token: it is broken after its first character and read as
    plain characters. Not guaranteed: template marks that are plain text themselves, such as `[INST]`, can be typed.

    `system`: put first when the conversation has no system message. `media_first`: media of a turn stand before its
    text. `newline_without_media`: a first user turn without media begins with a newline, as the official code asks.
    `media_alone`: a user's turn with media is nothing but its media, no text and no newline; the official pre-training
    on sound asks so. `interleave`: pictures and sound of one clip are cut into so many equal shares of its time, and a
    share's pictures are followed by its sound, so that what happens together stands together; 1 is the official order.

    Source: VideoLLaMA 2, `mm_infer` and `tokenizer_multimodal_token`; tests/parts/test_chat.py.
    """

    class Config(PartConfig):
        system: str | None = None
        media_first: bool = False
        newline_without_media: bool = False
        media_alone: bool = False
        interleave: int = Field(default=1, ge=1)

    tiny: ClassVar[dict[str, Any]] = {}
    settings: Config

    def lay_out(self, tokenizer: Any, turns: Sequence[Turn], *, add_generation_prompt: bool, labels: bool) -> Laid:
        writer = Writer(tokenizer, self._completed(turns), self.settings, self.settings.interleave)
        ids, kinds = writer.encode(len(writer.messages), add_generation_prompt)
        wanted = [IGNORED] * len(ids)
        if labels:
            for start, end in writer.spoken(ids):
                wanted[start:end] = ids[start:end]
        media = [index for index, kind in enumerate(kinds) if kind != TEXT]
        return Laid(ids, kinds, wanted, media[-1] + 1 if media else 0)

    def _completed(self, turns: Sequence[Turn]) -> list[Turn]:
        if not turns:
            raise UsageError("a conversation needs at least one message")
        if self.settings.system is not None and turns[0].role != "system":
            return [Turn("system", (self.settings.system,)), *turns]
        return list(turns)


class Writer:
    """One conversation being written: contents with marks in place of media and of dangerous spots."""

    def __init__(self, tokenizer: Any, turns: Sequence[Turn], settings: Any, shares: int = 1) -> None:
        self.tokenizer, self.shares = tokenizer, shares
        self.cells: list[Cells] = []
        # Private-use characters with the first number that no text contains: nothing typed can look like a mark. Pieces
        # of a turn are joined first, since a mark could be typed half in one and half in the next.
        texts = ["".join(piece for piece in turn.pieces if isinstance(piece, str)) for turn in turns]
        number = 0
        while any(f"\ue000{number}" in text for text in texts):
            number += 1
        self.mark = f"\ue000{number}"
        self.literals = _literals(tokenizer)
        first_user = next((index for index, turn in enumerate(turns) if turn.role == "user"), -1)
        self.messages = [
            {"role": turn.role, "content": self.content(turn, settings, index == first_user)}
            for index, turn in enumerate(turns)
        ]

    def content(self, turn: Turn, settings: Any, first_user: bool) -> str:
        """What a turn says, as the template is given it."""
        pieces = list(turn.pieces)
        if settings.media_alone and turn.role == "user" and (media := [p for p in pieces if isinstance(p, Cells)]):
            return "".join(map(self.place, media))
        if settings.media_first:
            pieces.sort(key=lambda piece: isinstance(piece, str))
        if settings.newline_without_media and first_user and all(isinstance(piece, str) for piece in pieces):
            pieces.insert(0, "\n")
        out, text = "", ""
        for piece in pieces:
            if isinstance(piece, str):
                text += piece
                continue
            out += self.fenced(text) + self.place(piece) + "\n"
            text = ""
        return out + self.fenced(text)

    def place(self, cells: Cells) -> str:
        """The mark of the next medium."""
        self.cells.append(cells)
        return f"{self.mark}:{len(self.cells) - 1}\ue001"

    def fenced(self, text: str) -> str:
        """The text with a mark inside everything that the tokenizer would read as one of its added tokens."""
        if self.literals is None or not self.literals.search(text):
            return text
        pieces, fence = [text], f"{self.mark}\ue001"
        while any(self.literals.search(piece) for piece in pieces):
            pieces = [half for piece in pieces for half in self._broken(piece)]
        return fence.join(pieces)

    def _broken(self, text: str) -> list[str]:
        found = self.literals.search(text) if self.literals else None
        return [text] if found is None else [text[: found.start() + 1], text[found.start() + 1 :]]

    def render(self, count: int, add_generation_prompt: bool) -> str:
        """The first `count` messages as one string that still holds the marks."""
        if not getattr(self.tokenizer, "chat_template", None):
            raise UsageError("the tokenizer has no chat template", remedy="Set tokenizer.chat_template")
        try:
            return self.tokenizer.apply_chat_template(self.messages[:count], tokenize=False,
                                                      add_generation_prompt=add_generation_prompt)
        except TemplateError as error:
            raise UsageError(f"the chat template refuses these messages: {error}") from None

    def encode(self, count: int, add_generation_prompt: bool) -> tuple[list[int], list[int]]:
        """Ids and kinds of the first `count` messages.

        Raises: UsageError when the template dropped, doubled or moved a medium.
        """
        ids: list[int] = []
        kinds: list[int] = []
        seen: list[int] = []
        for piece in re.split(f"({self.mark}(?::[0-9]+)?\ue001)", self.render(count, add_generation_prompt)):
            if piece.startswith(self.mark):
                if len(piece) > len(self.mark) + 1:
                    seen.append(int(piece[len(self.mark) + 1 : -1]))
                    cells = self.cells[seen[-1]]
                    ids += [filler_id(self.tokenizer)] * (cells.vision + cells.audio)
                    kinds += kinds_of(cells, self.shares)
            elif piece:
                new = self.tokenizer(piece, add_special_tokens=False)["input_ids"]
                ids += new
                kinds += [TEXT] * len(new)
        expected = sum(message["content"].count(f"{self.mark}:") for message in self.messages[:count])
        if seen != list(range(expected)):
            raise UsageError(f"the chat template kept media {seen} of {expected}", where="chat template",
                             remedy="Use a template that writes every message once, in order")
        return ids, kinds

    def spoken(self, ids: list[int]) -> Iterator[tuple[int, int]]:
        """[start, end) of what each assistant turn says, its closing mark included, as token indices into `ids`.

        Found by encoding the conversation up to either end, as the official code does; a token that straddles the
        border belongs to the answer.
        """
        for index, message in enumerate(self.messages):
            if message["role"] == "assistant":
                before, _ = self.encode(index, add_generation_prompt=True)
                after = ids if index + 1 == len(self.messages) else self.encode(index + 1, False)[0]
                yield _common(before, ids), _common(after, ids)


def kinds_of(cells: Cells, shares: int) -> list[int]:
    """The kinds of a medium's cells in order: in each of `shares` equal shares of time vision, then audio.

    Shares are whole slices where `shares` divides the slices of both.
    """
    kinds: list[int] = []
    for share in range(shares):
        for kind, count in ((VISION, cells.vision), (AUDIO, cells.audio)):
            kinds += [kind] * (count * (share + 1) // shares - count * share // shares)
    return kinds


def filler_id(tokenizer: Any) -> int:
    """A valid id to stand in cells; its embedding is overwritten."""
    for name in ("pad_token_id", "eos_token_id"):
        value = getattr(tokenizer, name, None)
        if value is not None:
            return int(value)
    return 0


def _common(first: list[int], second: list[int]) -> int:
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(first), len(second)))


def _literals(tokenizer: Any) -> re.Pattern[str] | None:
    """A pattern of all added tokens that are more than white space; longest first."""
    words = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
    marked = sorted((word for word in words if len(word) > 1 and word.strip()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, marked))) if marked else None
