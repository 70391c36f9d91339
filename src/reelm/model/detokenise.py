"""Text out of tokens, piece by piece: never half a character, never half a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence

#: Ids to text, special tokens left out.
Decode = Callable[[Sequence[int]], str]

#: What a decoder shows for bytes that are not (yet) a character.
_BROKEN = "\ufffd"


class TextStream:
    """Turns the tokens of one answer into pieces of text that, joined, are the answer.

    A piece is held back while its last character is incomplete, or while it may be the beginning of a stop string.
    """

    def __init__(self, decode: Decode, stop: Sequence[str] = ()) -> None:
        self._decode, self._stop = decode, tuple(stop)
        self._ids: list[int] = []
        self._context = 0  # first id that is decoded again: some tokenizers need the id before for the space between
        self._shown = 0  # ids whose text has left the detokeniser
        self._held = ""  # text that may begin a stop string
        self.text = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that became certain with this token; sets `stopped` when a stop string is complete."""
        self._ids.append(token)
        before = self._decode(self._ids[self._context:self._shown])
        now = self._decode(self._ids[self._context:])
        if len(now) <= len(before) or now.endswith(_BROKEN):
            return ""
        self._context, self._shown = self._shown, len(self._ids)
        return self._release(now[len(before):])

    def finish(self) -> str:
        """What is still held when no further token comes; an incomplete character shows as U+FFFD."""
        if self.stopped:
            return ""
        before = self._decode(self._ids[self._context:self._shown])
        rest = self._release(self._decode(self._ids[self._context:])[len(before):])
        self._context = self._shown = len(self._ids)
        held, self._held = self._held, ""  # empty when the rest completed a stop string
        self.text += held
        return rest + held

    def _release(self, piece: str) -> str:
        waiting = self._held + piece
        found = [at for at in (waiting.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped, self._held = True, ""
            out = waiting[:min(found)]
        else:
            keep = max((_overlap(waiting, stop) for stop in self._stop), default=0)
            cut = len(waiting) - keep
            out, self._held = waiting[:cut], waiting[cut:]
        self.text += out
        return out


def _overlap(text: str, stop: str) -> int:
    """How many last characters of `text` are the beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
