"""UCF-Crime in small: two crimes and two normal videos of the test list."""

from __future__ import annotations

from pathlib import Path

from tasks.miniatures.films import film

VIDEOS = ("Arson/Arson011_x264.mp4", "Shooting/Shooting004_x264.mp4",
          "Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4",
          "Testing_Normal_Videos_Anomaly/Normal_Videos_006_x264.mp4")


def make(root: Path, frames: int = 8, fps: int = 4) -> None:
    (root / "Anomaly_Test.txt").write_text("".join(f"{name}\n" for name in VIDEOS))
    for place, name in enumerate(VIDEOS):  # equal files would be asked about once
        film(root / name, frames + place, fps)
