"""What is opened, and what is refused: by content, before FFmpeg sees it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import av
import pytest
from PIL import Image as Pillow

from media.coded import number_in, picture, remux, tone, write_numbered
from reelm import media
from reelm.errors import MediaError, PolicyError
from reelm.media import source
from reelm.media.content import content_of
from reelm.media.limits import Deadline, Limits
from reelm.types import Clip


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A real video that no other file may lead to."""
    return write_numbered(tmp_path / "secret.mp4", 10, 25)


@pytest.mark.parametrize("url", [
    "http://example.org/a.mp4", "https://example.org/a.mp4", "rtsp://example.org/a", "concat:a.mp4|b.mp4", "pipe:0",
    "file:///etc/hostname", "subfile,,start,0,end,9,,:a.mp4", "crypto:a.mp4"])
def test_anything_with_a_protocol_is_refused_and_told_what_to_do(url: str) -> None:
    with pytest.raises(PolicyError, match="local files.*plain path"):
        media.open(Clip(url))


def test_a_local_file_may_have_a_colon_in_its_name(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "part:one.mp4", 10, 25)
    with media.open(Clip(path)) as reader:
        assert reader.info().frame_count == 10


def test_playlists_named_mp4_are_refused(tmp_path: Path, secret: Path) -> None:
    texts = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{secret}\n#EXT-X-ENDLIST\n",
        "hls with a mark": f"\ufeff#EXTM3U\n#EXTINF:10,\n{secret}\n",
        "concat": f"ffconcat version 1.0\nfile '{secret}'\n",
        "concat without a head": f"file '{secret}'\n",
        "session": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "dash": "<?xml version='1.0'?>\n<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>secret.mp4</BaseURL></MPD>",
    }
    for name, text in texts.items():
        path = tmp_path / f"{name}.mp4"
        path.write_text(text)
        with pytest.raises(PolicyError, match="playlist"):
            media.open(Clip(path))


def test_a_playlist_that_escapes_notice_still_opens_nothing(tmp_path: Path, secret: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """The second wall: even with FFmpeg's playlist demuxer in the list, a further file is refused."""
    monkeypatch.setitem(source.DEMUXERS, "hls", "hls")
    path = tmp_path / "list.mp4"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{secret}\n#EXT-X-ENDLIST\n")
    with pytest.raises(PolicyError, match="refers to another file"):
        source.open_container(content_of(Clip(path), Limits()), "hls", 10**6, Deadline(60, str(path)))


def test_a_playlist_does_not_reach_the_network(tmp_path: Path) -> None:
    calls: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)

        def listen() -> None:
            with contextlib.suppress(TimeoutError):
                calls.append(server.accept()[1])

        thread = threading.Thread(target=listen)
        thread.start()
        path = tmp_path / "stream.mp4"
        path.write_text(f"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:{server.getsockname()[1]}/a.ts\n#EXT-X-ENDLIST\n")
        with pytest.raises(PolicyError):
            media.open(Clip(path))
        thread.join()
    assert calls == []


def with_external_data(mp4: bytes, target: Path) -> bytes:
    """The MP4 (its index at the end) with its video data reference turned into an alias of another file."""
    at = mp4.find(b"dref") - 4
    old_size = int.from_bytes(mp4[at:at + 4], "big")
    name = str(target).encode()
    alias = bytearray(b"\0\0\0\0" + bytes(10) + bytes([1]) + b"v".ljust(27, b"\0") + bytes(12))
    alias += bytes([min(len(target.name), 63)]) + target.name.encode()[:63].ljust(63, b"\0") + bytes(16)
    alias += (0).to_bytes(2, "big") + (1).to_bytes(2, "big") + bytes(16)
    for kind, text in ((2, name), (18, name)):
        alias += kind.to_bytes(2, "big") + len(text).to_bytes(2, "big") + text + bytes(len(text) % 2)
    alias += b"\xff\xff\0\0"
    entry = (len(alias) + 8).to_bytes(4, "big") + b"alis" + bytes(alias)
    new = (16 + len(entry)).to_bytes(4, "big") + b"dref" + bytes(4) + (1).to_bytes(4, "big") + entry
    out = bytearray(mp4[:at] + new + mp4[at + old_size:])
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        place = out.find(box) - 4
        size = int.from_bytes(out[place:place + 4], "big") + len(new) - old_size
        out[place:place + 4] = size.to_bytes(4, "big")
    return bytes(out)


def test_an_mp4_that_keeps_its_data_elsewhere_does_not_open_it(tmp_path: Path) -> None:
    other = remux(write_numbered(tmp_path / "raw.mp4", 10, 25, options={"g": "1"}), tmp_path / "other.mp4")
    whole = other.read_bytes()
    data = whole.find(b"mdat") + 4
    hollow = whole[:data] + bytes(whole.find(b"moov") - 4 - data) + whole[whole.find(b"moov") - 4:]
    host = tmp_path / "host.mp4"
    host.write_bytes(with_external_data(hollow, other))
    # The trap works: told to follow references, FFmpeg shows the other file's pictures.
    with av.open(str(host), options={"enable_drefs": "1", "use_absolute_path": "1"}) as trap:
        leaked = [number_in(frame.to_ndarray(format="rgb24").transpose(2, 0, 1)) for frame in trap.decode(video=0)]
    assert leaked == list(range(10))
    with pytest.raises(MediaError), media.open(Clip(host)) as reader:
        reader.frames(reader.info().frame_times_s)


@pytest.mark.parametrize(("content", "says"), [
    (b"", "is empty"), (b"hello world\n" * 99, "is text"), (bytes(9999), "unknown bytes"),
    (b"\x00\x01binary" * 99, "unknown"),
    (b"GIF89a" + bytes(99), "gif|no readable"), (b"RIFF\0\0\0\0AVI LIST", "avi"), (b"II*\0" + bytes(99), "TIFF"),
    (b"\0\0\0\x18ftypheic" + bytes(12), "HEIC"), (b"%PDF-1.7\n", "PDF"),
    (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x02" + bytes(19), "without a whole picture"),
    (b"RIFF\0\0\0\0WEBPVP8X", "cannot be read as WEBP"),
    ("Hallo, Welt".encode("utf-16"), "unknown bytes"),
    (b"\0\0\0\x18ftypisom" + bytes(12), "opened as mov|no readable|no track"),
    (b"\x1a\x45\xdf\xa3" + bytes(40), "matroska"),
    (b"ID3\x04\0\0\0\0\0\x05abcde" + b"plain words " * 50, "mp3|no readable"), (b"OggS" + bytes(50), "ogg")])
def test_what_is_not_media_is_said_clearly(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=says) as caught, media.open(Clip(path)) as reader:
        reader.info()
    assert str(path) in str(caught.value)
    assert caught.value.remedy


def test_missing_folder_pipe_and_unreadable(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    locked = write_numbered(tmp_path / "locked.mp4", 2, 25)
    locked.chmod(0)
    cases = {tmp_path / "none.mp4": "No such file", tmp_path: "folder without pictures",
             tmp_path / "pipe.mp4": "not a plain file"}
    if os.geteuid() != 0:  # root may read everything
        cases[locked] = "cannot be read"
    for path, says in cases.items():
        with pytest.raises(MediaError, match=says), media.open(Clip(path)) as reader:
            reader.info()


def test_the_name_decides_nothing(tmp_path: Path) -> None:
    """A video named .jpg, a picture named .mp4 and a sound named .txt are what they are."""
    video = write_numbered(tmp_path / "a.mkv", 10, 25).rename(tmp_path / "holiday.jpg")
    still = tmp_path / "photo.mp4"
    Pillow.fromarray(picture(7)).save(still, "PNG")
    both = write_numbered(tmp_path / "both.mp4", 50, 25, audio=tone(2.0))
    sound = remux(both, tmp_path / "sound.mp4", keep_types=("audio",)).rename(tmp_path / "notes.txt")
    kinds = {}
    for path in (video, still, sound):
        with media.open(Clip(path)) as reader:
            kinds[path.name] = reader.info().kind
    assert kinds == {"holiday.jpg": "video", "photo.mp4": "image", "notes.txt": "audio"}


def test_ffmpeg_says_nothing_on_the_terminal(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", 50, 25)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2:len(whole) // 2 + 300] = os.urandom(300)
    path.write_bytes(whole)
    code = ("import sys\nfrom reelm import media\nfrom reelm.types import Clip\n"
            "r = media.open(Clip(sys.argv[1]))\nr.frames(r.info().frame_times_s)\n"
            "import numpy as np\nmedia.write_video(sys.argv[1] + '.mp4', [np.zeros((64, 64, 3), np.uint8)] * 5, 5)")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(Path(source.__file__).parents[2])})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
