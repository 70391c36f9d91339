"""An answer in a notebook: everything it knows, nothing that steers the page, and a browser that shows it."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from house.clips import write_media
from house.command import python
from reelm.errors import MediaError
from reelm.media.thumbnail import Thumbnails
from reelm.types import Answer, Clip, Span, Thumbnail

NASTY = '<script>alert("x")</script> & "quotes" \x1b[31m'


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == [], "every tag is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def full(**change) -> Answer:
    facts = {"text": "A red ball,\nfrom 1.0 to 1.5 s", "used_s": ((0.1, 1.9), ()), "audio_used": True,
             "spans": (Span(1.0, 1.5),), "tokens": {"text": 24, "vision": 1045, "new": 9},
             "seconds": {"decode": 0.0512, "first_token": 1.25}, "stop": "length", "notes": ("The sound ends early.",),
             "thumbnails": lambda: (Thumbnail(0, 0.1, b"one"), Thumbnail(1, None, b"two"))}
    return Answer(**{**facts, **change})


def test_it_tells_what_was_said_seen_heard_counted_timed_and_noted() -> None:
    text = Page(full()._repr_html_()).text
    for part in ("A red ball,\nfrom 1.0 to 1.5 s", "2 frames, 0.10 to 1.90 s", "sound heard", "1 to 1.5 s", "24 text",
                 "1,045 vision", "9 new", "decode 0.05", "first token 1.25", "cut at max_tokens",
                 "The sound ends early."):
        assert part in text, part


def test_the_frames_stand_in_the_page_with_their_times() -> None:
    page = Page(full()._repr_html_())
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert [picture["alt"] for picture in pictures] == ["frame 0.10 s", "frame still"]
    sources = [picture["src"] or "" for picture in pictures]
    assert [base64.b64decode(source.removeprefix("data:image/jpeg;base64,")) for source in sources] == [b"one", b"two"]


def test_what_a_model_or_a_file_wrote_cannot_become_part_of_the_page() -> None:
    html = full(text=NASTY, notes=(NASTY,), tokens={NASTY: 1}, seconds={NASTY: 1.0}, stop=NASTY)._repr_html_()
    page = Page(html)
    assert {tag for tag, _ in page.tags} == {"div", "b", "figure", "img", "figcaption"}
    assert page.text.count('<script>alert("x")</script> & "quotes" \ufffd[31m') == 5 and "\x1b" not in html


def test_a_picture_that_cannot_be_shown_takes_nothing_else_away() -> None:
    def gone() -> tuple[Thumbnail, ...]:
        raise MediaError("the file has <changed>", where="a.mp4")

    text = Page(full(thumbnails=gone)._repr_html_()).text
    assert "frames not shown: a.mp4: the file has <changed>" in text and "A red ball" in text


def test_a_bare_answer_is_shown_too() -> None:
    page = Page(Answer("")._repr_html_())
    assert page.text.startswith("(no words)") and "img" not in [tag for tag, _ in page.tags]


def test_it_needs_no_torch() -> None:
    done = python("import sys, reelm; reelm.Answer('Hello')._repr_html_(); print('torch' in sys.modules)")
    assert done.stdout == "False\n", done.stderr


def test_an_answer_of_a_model_brings_its_frames(tmp_path: Path) -> None:
    import reelm

    write_media(tmp_path)
    clip, photo = Clip(tmp_path / "clip.mp4"), Clip(tmp_path / "photo.png")
    answer = reelm.load("random").answer(clip, photo, "What?", max_tokens=2)
    pictures = [attrs for tag, attrs in Page(answer._repr_html_()).tags if tag == "img"]
    assert [picture["alt"] for picture in pictures] == [*(f"frame {at_s:.2f} s" for at_s in answer.used_s[0]),
                                                        "frame still"]
    assert len(answer._repr_html_()) < 100_000


@pytest.mark.skipif(not shutil.which("chromium"), reason="no browser here; the other tests read the HTML")
def test_a_browser_draws_every_picture(tmp_path: Path) -> None:
    write_media(tmp_path)
    answer = full(thumbnails=Thumbnails([Clip(tmp_path / "clip.mp4")], [(0.1, 1.0, 1.9)]))
    page = tmp_path / "page.html"
    page.write_text(f"<meta charset=utf-8>{answer._repr_html_()}<p id=out><script>onload = () => {{ out.textContent = "
                    "'sizes ' + [...document.images].map(i => i.naturalWidth + 'x' + i.height).join(' ') }</script>")
    done = subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()],
                          capture_output=True, text=True, timeout=120, check=True)
    sizes = re.search(r"sizes ([\dx ]+)", done.stdout)
    assert sizes and sizes[1].split() == ["135x72"] * 3
