"""Files broken at random places: an answer or a ReelmError, never anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from media.coded import CODECS, number_in, picture, tone, write_numbered, write_sound
from media.counted import written
from reelm import media
from reelm.errors import MediaError, ReelmError
from reelm.types import Clip


OTHERS = ("h264, B-frames.avi", "mpeg4, B-frames.avi", "h264, B-frames.ts", "h264, B-frames.flv",
          "mpeg2, B-frames.mpg", "wmv2.wmv", "moving, variable.gif", "moving.png", "moving, variable.webp",
          "h265, B-frames.mp4", "av1.mp4")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("samples")
    paths = [write_numbered(folder / f"a.{suffix}", 25, 25, audio=tone(1.0)) for suffix in ("mp4", "mkv", "webm")]
    paths += [write_sound(folder / f"s.{suffix}", tone(0.5, 44_100), CODECS[suffix], "mono")
              for suffix in ("wav", "flac", "mp3", "ogg")]
    paths += [Path(str(written(folder, name, 20)[0].source)) for name in OTHERS]
    for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "AVIF"):
        Pillow.fromarray(picture(5)).save(folder / form, form)
        paths.append(folder / form)
    return [path.read_bytes() for path in paths]


def broken(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, cut off, taken out or put in; half the time near the beginning."""
    data = bytearray(content)
    at = int(rng.integers(0, min(len(data), 1500) if rng.random() < 0.5 else len(data)))
    way = rng.integers(0, 4)
    if way == 0:
        data[at:at + 20] = rng.bytes(20)
    elif way == 1:
        del data[at + 1:]
    elif way == 2:
        del data[at:at + int(rng.integers(1, 200))]
    else:
        data[at:at] = rng.bytes(50)
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_every_file_is_read_or_explained(tmp_path: Path, samples: list[bytes], seed: int) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path / "broken"
    read = explained = 0
    for content in samples:
        path.write_bytes(broken(content, rng))
        try:
            with media.open(Clip(path)) as reader:
                info = reader.info()
                if info.kind != "audio":
                    frames = reader.frames([0.9, 0.0, 0.5])
                    assert len(frames) == 3
                    assert np.isfinite(frames.at_s).all()
                reader.audio(16_000)
            read += 1
        except ReelmError as error:
            assert error.what and error.where
            explained += 1
    assert read + explained == len(samples)


def test_where_the_beginning_is_lost_the_next_readable_picture_stands_in(tmp_path: Path) -> None:
    """The first key frame is wiped out; what is given carries its own time, and a note."""
    path = write_numbered(tmp_path / "headless.mp4", 60, 25, options={"g": "20", "bf": "0"})
    whole = bytearray(path.read_bytes())
    begin = whole.find(b"mdat") + 4
    whole[begin:begin + 900] = bytes(900)
    path.write_bytes(whole)
    with media.open(Clip(path)) as reader:
        frames = reader.frames([0.0, 1.0])
        assert reader.notes
    assert number_in(frames.rgb[1]) == 25
    assert frames.at_s[1] == 1.0
    assert number_in(frames.rgb[0]) == round(frames.at_s[0] * 25) or any("damaged" in note for note in reader.notes)


def test_a_file_without_one_readable_picture_is_an_error(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "lost.mp4", 20, 25)
    whole = bytearray(path.read_bytes())
    begin = whole.find(b"mdat") + 4
    whole[begin:] = bytes(len(whole) - begin)
    path.write_bytes(whole)
    with pytest.raises(MediaError, match="decoded|no readable"), media.open(Clip(path)) as reader:
        reader.frames([0.0])
