"""Video-Bench with a judge reads the files of Video-Bench."""

from __future__ import annotations

from tasks.miniatures.video_bench import make

__all__ = ["make"]
