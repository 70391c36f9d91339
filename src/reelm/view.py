"""How an answer looks in a notebook: plain HTML, without scripts, in the colours of the page around it.

Knows no part and no model; everything a model or a file could have written is escaped.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import Any

_CARD = ("border:1px solid rgba(128,128,128,.45);border-radius:8px;padding:.7em 1em;margin:.2em 0;max-width:62em;"
         "line-height:1.4")
_TEXT = "font-size:1.1em;white-space:pre-wrap;overflow-wrap:anywhere"
_STRIP = "display:flex;flex-wrap:wrap;gap:6px;margin:.7em 0 .3em"
_FIGURE = "margin:0;text-align:center;font-size:.75em;opacity:.9"
_PICTURE = "display:block;border-radius:3px;height:72px;width:auto;margin:0 auto"
_FACTS = "font-size:.8em;opacity:.75;overflow-wrap:anywhere"
_NOTE = "font-size:.85em;margin:.35em 0 0;padding-left:.6em;border-left:3px solid rgba(200,140,0,.8)"
_STOPS = {"end": "", "stop": "ended by a stop string", "length": "cut at max_tokens", "cancelled": "stopped before its "
          "end"}


def answer_html(answer: Any) -> str:
    """The answer as a card: what was said, small pictures of the frames used with their seconds, what it cost, notes.

    The pictures are read again from the files; when they cannot be, a sentence says so and the rest stands.
    """
    said = f'<div style="{_TEXT}">{_shown(answer.text) or "<i>(no words)</i>"}</div>'
    rows = "".join(f'<div style="{_FACTS}"><b>{name}</b> {value}</div>' for name, value in _facts(answer) if value)
    notes = "".join(f'<div style="{_NOTE}">{_shown(note)}</div>' for note in answer.notes)
    return f'<div class="reelm-answer" style="{_CARD}">{said}{_pictures(answer)}{rows}{notes}</div>'


def _pictures(answer: Any) -> str:
    if answer.thumbnails is None:
        return ""
    try:
        thumbnails = answer.thumbnails()
    except Exception as error:  # a view that breaks would hide the answer it is there to show
        return f'<div style="{_FACTS}">frames not shown: {_shown(str(error))}</div>'
    figures = "".join(
        f'<figure style="{_FIGURE}"><img style="{_PICTURE}" alt="frame {_label(one)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(one.jpeg).decode()}"><figcaption>{_label(one)}</figcaption>'
        "</figure>" for one in thumbnails)
    return f'<div style="{_STRIP}">{figures}</div>' if figures else ""


def _label(thumbnail: Any) -> str:
    return "still" if thumbnail.at_s is None else f"{thumbnail.at_s:.2f} s"


def _facts(answer: Any) -> list[tuple[str, str]]:
    seen = [f"{len(times)} frames, {times[0]:.2f} to {times[-1]:.2f} s" for times in answer.used_s if times]
    heard = "sound heard" if answer.audio_used else "no sound heard"
    ended = _STOPS.get(answer.stop, _shown(answer.stop))
    spans = [f"{span.start_s:g} to {span.end_s:g} s" for span in answer.spans]
    return [("Saw", _list([*seen, heard])), ("Named times", _list(spans)), ("Ended", ended),
            ("Tokens", _list([f"{count:,} {_shown(name)}" for name, count in answer.tokens.items()])),
            ("Seconds", _list([f"{_shown(phase.replace('_', ' '))} {spent:.2f}"
                               for phase, spent in answer.seconds.items()]))]


def _list(items: Sequence[str]) -> str:
    return " · ".join(items)


def _shown(text: str) -> str:
    return html.escape("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text))
