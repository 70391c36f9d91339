"""Sound: one channel, the rate asked, the right pitch, loudness, length and place."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from media.coded import CODECS, remux, tone, write_numbered, write_sound
from reelm import media
from reelm.errors import MediaError, UsageError
from reelm.types import Audio, Clip


def pitch_hz(wave: np.ndarray, rate_hz: int) -> float:
    """The strongest frequency, between the bins."""
    power = np.log(np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) + 1e-12)
    peak = int(power.argmax())
    left, mid, right = power[peak - 1:peak + 2]
    return float((peak + 0.5 * (left - right) / (left - 2 * mid + right)) * rate_hz / len(wave))


@pytest.mark.parametrize("suffix", CODECS)
def test_a_tone_keeps_pitch_loudness_length_and_start(tmp_path: Path, suffix: str) -> None:
    path = write_sound(tmp_path / f"tone.{suffix}", tone(1.5, 44_100, 440.0, (0.5, 0.25)), CODECS[suffix], "stereo")
    with media.open(Clip(path)) as reader:
        assert reader.info().kind == "audio"
        sound = reader.audio(16_000)
        assert reader.notes == []
    assert sound is not None
    assert (sound.wave.dtype, sound.wave.shape, sound.rate_hz, sound.start_s) == (np.float32, (1, 24_000), 16_000, 0.0)
    assert abs(pitch_hz(sound.wave[0], 16_000) - 440.0) < 0.1
    loudest = np.abs(sound.wave[0, 4000:20_000]).max()
    assert abs(loudest - 0.375) < (0.001 if "pcm" in CODECS[suffix] or suffix in ("flac", "mka") else 0.05)


def test_channels_are_averaged_whatever_their_layout(tmp_path: Path) -> None:
    """Opposite channels cancel; six channels weigh the same."""
    path = write_sound(tmp_path / "opposite.wav", tone(0.5, 16_000, 440.0, (0.5, -0.5)), "pcm_s16le", "stereo")
    with media.open(Clip(path)) as reader:
        sound = reader.audio(16_000)
    assert sound is not None
    assert np.abs(sound.wave).max() <= 1.0 / 32_768
    only_one = tone(0.5, 16_000, 440.0, (0.6, 0, 0, 0, 0, 0))
    path = write_sound(tmp_path / "six.flac", only_one, "flac", "5.1")
    with media.open(Clip(path)) as reader:
        sound = reader.audio(16_000)
    assert sound is not None
    assert abs(np.abs(sound.wave).max() - 0.1) < 0.001


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_the_length_follows_the_rate(tmp_path: Path, rate_hz: int) -> None:
    path = write_sound(tmp_path / "tone.wav", tone(1.0, 44_100), "pcm_s16le", "mono")
    with media.open(Clip(path)) as reader:
        sound = reader.audio(rate_hz)
    assert sound is not None
    assert sound.wave.shape == (1, rate_hz)
    assert abs(pitch_hz(sound.wave[0], rate_hz) - 440.0) < 0.1


@pytest.mark.parametrize("name", ["clip.wav", "clip.mp4", "clip.webm"])
def test_a_clip_sounds_like_a_slice_of_the_whole(tmp_path: Path, name: str) -> None:
    chirp = np.sin(2 * np.pi * 300 * (np.arange(44_100 * 3) / 44_100) ** 2)[None].astype(np.float32) * 0.5
    if name.endswith("wav"):
        path = write_sound(tmp_path / name, Audio(chirp, 44_100), "pcm_s16le", "mono")
    else:
        path = write_numbered(tmp_path / name, 75, 25, audio=Audio(chirp, 44_100))
    with media.open(Clip(path)) as reader:
        whole = reader.audio(16_000)
    with media.open(Clip(path, start_s=1.3, end_s=2.1)) as reader:
        part = reader.audio(16_000)
    assert whole is not None and part is not None
    assert part.start_s == pytest.approx(1.3, abs=1e-4)
    assert part.wave.shape == (1, 12_800)
    first = round((part.start_s - whole.start_s) * 16_000)
    # WebM counts its times in whole milliseconds, so that a clip may lie one beside.
    lags = range(-16, 17) if name.endswith("webm") else (0,)
    near = [np.abs(part.wave[0] - whole.wave[0, first + lag:first + lag + 12_800]).max() for lag in lags]
    assert min(near) < 1e-4


def test_pictures_and_sound_share_one_clock(tmp_path: Path) -> None:
    """A click written at 1.0 s is heard at 1.0 s, also when the file counts from 10 s."""
    wave = np.zeros((1, 32_000), np.float32)
    wave[0, 16_000:16_040] = 0.9
    source = write_numbered(tmp_path / "click.mkv", 50, 25, audio=Audio(wave, 16_000))
    for path in (source, remux(source, tmp_path / "late.mkv", shift_s=10.0)):
        with media.open(Clip(path)) as reader:
            sound, first = reader.audio(16_000), reader.info().frame_times_s[0]
        assert sound is not None
        assert first == 0.0
        heard = sound.start_s + int(np.abs(sound.wave[0]).argmax()) / 16_000
        assert heard == pytest.approx(1.0, abs=0.005)


def test_sound_that_begins_late_says_when(tmp_path: Path) -> None:
    late = Audio(tone(1.0).wave, 16_000, start_s=0.5)
    path = write_numbered(tmp_path / "late.mp4", 50, 25, audio=late)
    with media.open(Clip(path)) as reader:
        sound = reader.audio(16_000)
    assert sound is not None
    assert sound.start_s == pytest.approx(0.5, abs=0.07)
    assert sound.duration_s == pytest.approx(1.0, abs=0.07)


def test_a_track_that_cannot_be_decoded_raises(tmp_path: Path) -> None:
    source = write_numbered(tmp_path / "good.webm", 50, 25, audio=tone(2.0))
    path = tmp_path / "bad.webm"
    with av.open(str(source)) as from_, av.open(str(path), "w") as to:
        streams = {stream.index: to.add_stream_from_template(stream) for stream in from_.streams}
        for packet in from_.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio":
                broken = av.Packet(b"\xff" * packet.size)
                broken.pts, broken.dts, broken.duration = packet.pts, packet.dts, packet.duration
                broken.time_base, index, packet = packet.time_base, packet.stream_index, broken
                packet.stream = streams[index]
            else:
                packet.stream = streams[packet.stream_index]
            to.mux(packet)
    with media.open(Clip(path)) as reader:
        assert reader.info().has_audio
        with pytest.raises(MediaError, match="sound track cannot be decoded"):
            reader.audio(16_000)
        assert len(reader.frames([0.0])) == 1


def test_a_gap_in_the_sound_is_silence_and_a_note(tmp_path: Path) -> None:
    source = write_numbered(tmp_path / "whole.mkv", 75, 25, audio=tone(3.0, 48_000))
    path = tmp_path / "gap.mkv"
    with av.open(str(source)) as from_, av.open(str(path), "w") as to:
        streams = {stream.index: to.add_stream_from_template(stream) for stream in from_.streams}
        for packet in from_.demux():
            if packet.dts is None and packet.pts is None:
                continue
            inside = 1.0 <= float((packet.pts or 0) * packet.time_base) < 1.5
            if packet.stream.type == "audio" and inside:
                continue
            packet.stream = streams[packet.stream_index]
            to.mux(packet)
    with media.open(Clip(path)) as reader:
        sound = reader.audio(16_000)
        assert any("missing" in note for note in reader.notes)
    assert sound is not None
    assert sound.duration_s == pytest.approx(3.0, abs=0.03)
    assert np.abs(sound.wave[0, 18_000:22_000]).max() < 0.001
    assert np.abs(sound.wave[0, 30_000:40_000]).max() > 0.4


def test_a_rate_must_be_positive(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "tone.wav", tone(0.2), "pcm_s16le", "mono")
    with media.open(Clip(path)) as reader, pytest.raises(UsageError):
        reader.audio(0)
