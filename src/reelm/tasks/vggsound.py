"""VGGSound (AVSSD): what happens in a video of ten seconds, by sight and sound, graded by a judge."""

from __future__ import annotations

from reelm.tasks.avsd import HeardAndSeen
from reelm.tasks.base import task


@task("vggsound")
class VggSound(HeardAndSeen):
    """`avssd_test.json`. Source: Chen et al. 2020; VideoLLaMA 2, audio_visual branch."""

    file, asked = "avssd_test.json", "Identify the event in the video."
