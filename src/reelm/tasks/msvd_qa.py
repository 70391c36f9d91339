"""MSVD-QA: short open questions about short clips, graded by a judge."""

from __future__ import annotations

from reelm.tasks.base import task
from reelm.tasks.open_qa import OpenQA


@task("msvd_qa")
class MsvdQA(OpenQA):
    """Accuracy and grade by a judge.

    Source: Xu et al. 2017, in the form of Video-ChatGPT's zero-shot evaluation, which VideoLLaMA 2 uses.
    """

    videos = "videos"
