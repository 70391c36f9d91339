"""The `plain` layout: media, then words, without a chat template; the official form of pre-training on video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from reelm.config import PartConfig
from reelm.errors import UsageError
from reelm.parts.layouts.chat import IGNORED, Writer
from reelm.parts.layouts.turns import Cells, Laid, Layout, Turn
from reelm.registry import part
from reelm.types import TEXT


@part("layout", "plain")
class Plain(Layout):
    """Media, a newline and what was asked (if anything was), a space, the caption; no mark of a turn, begin or end.

    Every word learns, the asked ones too, as in the official code; only media do not. One question with its answer,
    no system message. Text cannot spell a special token, as in the layout `chat`.

    Source: VideoLLaMA 2, `preprocess_plain` with `preprocess_multimodal` (main branch); tests/parts/test_plain.py.
    """

    class Config(PartConfig):
        """No settings."""

    tiny: ClassVar[dict[str, Any]] = {}

    def lay_out(self, tokenizer: Any, turns: Sequence[Turn], *, add_generation_prompt: bool, labels: bool) -> Laid:
        roles, wanted = [turn.role for turn in turns], ["user"] if add_generation_prompt else ["user", "assistant"]
        if roles != wanted:
            raise UsageError(f"the plain form has the turns {', '.join(wanted)}, got {', '.join(roles) or 'none'}",
                             where="layout plain", remedy="Use the chat form for conversations")
        ids, kinds = _Caption(tokenizer, turns, self.settings).encode(len(turns), add_generation_prompt)
        learnt = [token if labels and kind == TEXT else IGNORED for token, kind in zip(ids, kinds, strict=True)]
        media = [index for index, kind in enumerate(kinds) if kind != TEXT]
        return Laid(ids, kinds, learnt, media[-1] + 1 if media else 0)


class _Caption(Writer):
    """Media before words, turns joined by a space."""

    def content(self, turn: Turn, settings: Any, first_user: bool) -> str:
        words = "".join(piece for piece in turn.pieces if isinstance(piece, str))
        media = "".join(self.place(piece) for piece in turn.pieces if isinstance(piece, Cells))
        if not media:
            return self.fenced(words)
        words = words.strip()
        return media + (f"\n{self.fenced(words)}" if words else "")

    def render(self, count: int, add_generation_prompt: bool) -> str:
        return " ".join(message["content"] for message in self.messages[:count])
