"""Verdicts on disk: the replies of judges, addressed by all that they depend on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from reelm.errors import UsageError
from reelm.eval.store import Kept
from reelm.types import Message

#: The number of what a key is made of.
_FORM = 1
_OLD_COLUMNS = ("key", "judge", "version", "prompt", "settings", "reply", "model", "at")


def spoken(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as every chat model takes them: role and text.

    Raises: UsageError for a part that is not text: a judge reads only.
    """
    for message in messages:
        if odd := [part for part in message.parts if not isinstance(part, str)]:
            raise UsageError(f"a judge reads text, not {type(odd[0]).__name__}", remedy="Describe it in words")
    return [{"role": one.role, "content": "\n".join(map(str, one.parts))} for one in messages]


def key_of(judge: str, version: str, messages: Sequence[Message], settings: Mapping[str, Any]) -> str:
    """SHA-256 of everything that a reply depends on."""
    whole = json.dumps([_FORM, judge, version, spoken(messages), dict(settings)], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()


class Verdicts(Kept):
    """The replies of judges by key. Only replies that could be read are put here; a later one replaces an earlier."""

    table = "verdicts"
    newest = True

    def find(self, key: str) -> str | None:
        """The reply kept under `key`, or None."""
        found = self.get(key)
        return None if found is None else str(found["reply"])

    def keep(self, key: str, judge: str, version: str, messages: Sequence[Message], settings: Mapping[str, Any],
             reply: str, model: str) -> None:
        """Keeps a reply for good, with all that led to it: it is on disk when this returns."""
        self.put({key: {"judge": judge, "version": version, "prompt": spoken(messages), "settings": dict(settings),
                        "reply": reply, "model": model, "at": time.time()}})

    def converted(self, columns: tuple[str, ...]) -> str | None:
        """Once every fact had a column of its own."""
        if columns != _OLD_COLUMNS:
            return None
        return ("SELECT key, json_object('judge', judge, 'version', version, 'prompt', json(prompt), 'settings', "
                "json(settings), 'reply', reply, 'model', model, 'at', at) FROM verdicts")
