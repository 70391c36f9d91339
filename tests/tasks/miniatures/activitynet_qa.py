"""ActivityNet-QA in small: names that the annotation has without the v_ that files begin with."""

from __future__ import annotations

from pathlib import Path

from tasks.miniatures.open_qa import write


def make(root: Path) -> None:
    write(root, {"1QIUV7WYKXg": "1QIUV7WYKXg.mp4", "uqiMw7tQ1Cc": "v_uqiMw7tQ1Cc.mkv"}, "all_test",
          ["v_1QIUV7WYKXg_3", "v_uqiMw7tQ1Cc_1", "v_1QIUV7WYKXg_4"], ["yes", "no", "2"])
