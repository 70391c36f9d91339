"""Subtitles: the lines of a text track or of a file beside the video, inside the clip, without markup."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from media.coded import write_numbered
from reelm import media
from reelm.errors import MediaError, PolicyError
from reelm.types import Clip, Cue

LINES = (Cue(0.5, 1.25, "Hello, world & all"), Cue(1.5, 2.0, "Größe 漢字\nsecond line"), Cue(2.5, 3.0, "a < b {c}"))
SRT = """1
00:00:00,500 --> 00:00:01,250
<i>Hello</i>, <font color="red">world</font> & all

2
00:00:01,500 --> 00:00:02,000
{\\an8}Größe 漢字
second line

3
00:00:02,500 --> 00:00:03,000
a < b {c}
"""
#: What FFmpeg's encoders of subtitles want before they open.
HEADER = b"[Script Info]\nScriptType: v4.00+\n\n[Events]\nFormat: Layer, Start, End, Style, Text\n"
VTT = """WEBVTT - a title

NOTE nothing to see

first
00:00.500 --> 00:01.250 align:start position:10%
<v Ann>Hello</v>, <b>world</b> &amp; all

00:00:01.500 --> 00:00:02.000
Größe 漢字
second line

00:02.500 --> 00:03.000
a &lt; b {c}
"""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered(tmp_path_factory.mktemp("subtitles") / "talk.mp4", 100, 25)


def with_track(film: Path, target: Path, codec: str, lines: tuple[Cue, ...] = LINES, tracks: int = 1,
               shift_s: float = 0.0) -> Path:
    """The film with text tracks in it, all its times moved by `shift_s`."""
    with av.open(str(film)) as source, av.open(str(target), "w") as out:
        video = out.add_stream_from_template(source.streams.video[0])
        texts = [out.add_stream(codec) for _ in range(tracks)]
        for text in texts:
            text.codec_context.subtitle_header = HEADER
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                shift = round(shift_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                out.mux(packet)
        for number, text in enumerate(texts):
            for cue in lines:
                words = cue.text.encode() + (b" %d" % number if number else b"")
                packet = av.Packet(len(words).to_bytes(2, "big") + words if codec == "mov_text" else words)
                packet.time_base, packet.stream = Fraction(1, 1000), text
                packet.pts = packet.dts = round((cue.start_s + shift_s) * 1000)
                packet.duration = round((cue.end_s - cue.start_s) * 1000)
                out.mux(packet)
    return target


@pytest.mark.parametrize(("text", "suffix"), [(SRT, "srt"), (VTT, "vtt")])
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_beside_is_read_when_it_is_named(film: Path, tmp_path: Path, text: str, suffix: str,
                                                coding: str) -> None:
    path = tmp_path / f"any name.{suffix}"
    path.write_text(text, coding, newline="\r\n")
    with media.open(Clip(film)) as reader:
        assert reader.subtitles(path) == LINES
        assert reader.notes == []


def test_an_old_coding_is_guessed_and_said(film: Path, tmp_path: Path) -> None:
    (tmp_path / "old.srt").write_text(SRT.replace("漢字", ""), "cp1252")
    with media.open(Clip(film)) as reader:
        assert reader.subtitles(tmp_path / "old.srt")[1].text == "Größe\nsecond line"
        assert any("Windows-1252" in note for note in reader.notes)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mov_text"), ("a.mkv", "srt"), ("a.webm", "webvtt")])
def test_a_track_inside_the_file(film: Path, tmp_path: Path, name: str, codec: str) -> None:
    source = film if name != "a.webm" else write_numbered(tmp_path / "plain.webm", 100, 25)
    path = with_track(source, tmp_path / name, codec, tuple(cue for cue in LINES if "<" not in cue.text))
    with media.open(Clip(path)) as reader:
        assert reader.subtitles() == LINES[:2]


def test_the_lines_keep_the_clock_of_the_pictures(film: Path, tmp_path: Path) -> None:
    late = with_track(film, tmp_path / "late.mkv", "srt", LINES[:2], shift_s=20.0)
    with media.open(Clip(late)) as reader:
        assert reader.info().frame_times_s[0] == 0.0
        assert reader.subtitles() == LINES[:2]


@pytest.mark.parametrize(("start_s", "end_s", "which"), [
    (0.0, None, [0, 1, 2]), (1.0, 2.0, [0, 1]), (1.25, 1.5, []), (1.9, 2.6, [1, 2]), (0.0, 0.5, [])])
def test_a_clip_has_the_lines_on_its_screen_with_their_whole_times(film: Path, tmp_path: Path, start_s: float,
                                                                  end_s: float | None, which: list[int]) -> None:
    (tmp_path / "a.srt").write_text(SRT)
    with media.open(Clip(film, start_s, end_s)) as reader:
        assert reader.subtitles(tmp_path / "a.srt") == tuple(LINES[number] for number in which)


def test_of_several_tracks_one_is_used_and_said(film: Path, tmp_path: Path) -> None:
    with media.open(Clip(with_track(film, tmp_path / "two.mkv", "srt", LINES[:2], tracks=2))) as reader:
        assert reader.subtitles() == LINES[:2]
        assert any("2 text tracks; track 1" in note for note in reader.notes)


def test_a_line_without_length_stays_until_the_next_but_five_seconds_at_most(film: Path, tmp_path: Path) -> None:
    path = with_track(film, tmp_path / "open.mkv", "srt", (Cue(0.5, 0.5, "one"), Cue(1.5, 1.5, "two")))
    with media.open(Clip(path)) as reader:
        assert reader.subtitles() == (Cue(0.5, 1.5, "one"), Cue(1.5, 6.5, "two"))


def test_nothing_beside_is_read_unasked(tmp_path: Path) -> None:
    film = write_numbered(tmp_path / "talk.mp4", 5, 25)
    for name in ("talk.srt", "talk.en.vtt", "talkative.srt", "other.srt", "talk.txt"):
        (tmp_path / name).write_text(SRT)
    with media.open(Clip(film)) as reader:
        assert reader.subtitles() == ()
        assert [path.name for path in reader.beside()] == ["talk.en.vtt", "talk.srt"]
    with media.open(Clip(film.read_bytes())) as reader:
        assert reader.beside() == () and reader.subtitles(tmp_path / "talk.srt") != ()


def test_what_are_no_subtitles_is_said(film: Path, tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("no times here\n")
    (tmp_path / "empty.vtt").write_text("WEBVTT\n")
    with media.open(Clip(film)) as reader:
        with pytest.raises(MediaError, match="neither SRT nor WebVTT"):
            reader.subtitles(tmp_path / "a.srt")
        with pytest.raises(MediaError, match="neither SRT nor WebVTT"):
            reader.subtitles(film)
        with pytest.raises(MediaError, match="No such file"):
            reader.subtitles(tmp_path / "none.srt")
        with pytest.raises(PolicyError, match="only local files"):
            reader.subtitles("https://example.org/a.srt")
        assert reader.subtitles(tmp_path / "empty.vtt") == ()
