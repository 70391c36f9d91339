"""Speech-to-text tools that come as optional packages; any object with the interface of `Transcriber` does as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from reelm.errors import CheckpointError, UsageError
from reelm.model.speech import Transcriber
from reelm.types import Audio, Cue


class Whisper:
    """Whisper through faster-whisper (`pip install "reelm[speech]"`).

    `model`: a size (tiny, base, small, medium, large-v3), which that package fetches from a model hub, or a folder with
    converted weights. `language`: a code such as "en"; None lets the model find out.
    Raises: UsageError without the package, CheckpointError when the weights cannot be had.
    """

    rate_hz = 16000

    def __init__(self, model: str = "small", language: str | None = None) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError:
            raise UsageError("the package faster-whisper is not installed",
                             remedy='pip install "reelm[speech]"') from None
        try:
            self._model: Any = WhisperModel(model, compute_type="int8")
        except Exception as error:  # the package raises whatever the network, the hub or the file gave it
            raise CheckpointError(f"Whisper {model!r} cannot be loaded: {error}",
                                  remedy="Name a folder with the converted weights: whisper:FOLDER") from None
        self._language = language

    def transcribe(self, sound: Audio) -> Sequence[Cue]:
        segments, _ = self._model.transcribe(sound.wave[0], language=self._language, vad_filter=True)
        return [Cue(float(one.start), float(one.end), one.text.strip()) for one in segments]


#: What `--transcriber` knows by name.
TOOLS: dict[str, Callable[..., Transcriber]] = {"whisper": Whisper}


def transcriber(text: str) -> Transcriber:
    """The tool that `NAME` or `NAME:MODEL` means, for example whisper:small.

    Raises: UsageError for an unknown name.
    """
    name, _, model = text.partition(":")
    if name not in TOOLS:
        raise UsageError(f"no transcriber is called {name!r}", remedy=f"Known: {', '.join(TOOLS)}, as in whisper:small")
    return TOOLS[name](model) if model else TOOLS[name]()
