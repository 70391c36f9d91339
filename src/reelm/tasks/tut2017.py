"""TUT Acoustic Scenes 2017: at which of fifteen places a sound was recorded."""

from __future__ import annotations

from reelm.tasks.base import task
from reelm.tasks.sound import SoundChoice


@task("tut2017")
class Tut2017(SoundChoice):
    """`tut2017.jsonl` in the form of VideoLLaMA 2's script, paths of the sounds beside it.

    Source: Mesaros et al. 2016; VideoLLaMA 2, audio_visual branch.
    """

    file = "tut2017.jsonl"
    question = "Question: Identify the sound event in the audio."
    sounds = ("beach", "bus", "cafe or restaurant", "car", "city center", "forest path", "grocery store", "home",
              "library", "metro station", "office", "park", "residential area", "train", "tram")
