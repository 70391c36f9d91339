"""VocalSound: which of six sounds, other than speech, a person makes."""

from __future__ import annotations

from reelm.tasks.base import task
from reelm.tasks.sound import SoundChoice


@task("vocalsound")
class VocalSound(SoundChoice):
    """`vocalsound.jsonl` in the form of VideoLLaMA 2's script, paths of the sounds beside it.

    Source: Gong et al. 2022; VideoLLaMA 2, audio_visual branch.
    """

    file = "vocalsound.jsonl"
    question = "Identify the human sound in the audio."
    sounds = ("Laughter", "Sigh", "Cough", "Throat clearing", "Sneeze", "Sniff")
