"""ActivityNet-QA: open questions about longer clips of human doings, graded by a judge."""

from __future__ import annotations

from reelm.tasks.base import task
from reelm.tasks.open_qa import OpenQA


@task("activitynet_qa")
class ActivityNetQA(OpenQA):
    """Accuracy and grade by a judge.

    Source: Yu et al. 2019, in the form of Video-ChatGPT's zero-shot evaluation, which VideoLLaMA 2 uses.
    """

    videos = "all_test"
