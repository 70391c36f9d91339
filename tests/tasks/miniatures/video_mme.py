"""Video-MME in small: three videos with three questions each, subtitles beside two of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow
from pyarrow import parquet

from tasks.miniatures.films import film

VIDEOS = (("001", "short", "Knowledge", "fFjv93ACGo8"), ("302", "medium", "Sports Competition", "N1cdUjctpG8"),
          ("601", "long", "Multilingual", "-Uid7Xhx_Cs"))
SUBTITLES = """1
00:00:00,000 --> 00:00:00,600
First line

2
00:00:00,700 --> 00:00:02,000
Second line
"""


def make(root: Path) -> None:
    rows = []
    for number, duration, domain, name in VIDEOS:
        for place in range(3):
            rows.append({
                "video_id": number, "duration": duration, "domain": domain, "sub_category": f"Sub {domain}",
                "url": f"https://www.youtube.com/watch?v={name}", "videoID": name,
                "question_id": f"{number}-{place + 1}",
                "task_type": ("Counting Problem", "Object Recognition", "Action Reasoning")[place],
                "question": f"What is seen in part {place}?",
                "options": ["A. Lamps.", "B. Kettles.", "C. Chairs.", "D. All three equally often."],
                "answer": "ABD"[place]})
        film(root / "videos" / f"{name}.mp4", frames=16, fps=8)
    parquet.write_table(pyarrow.Table.from_pylist(rows), root / "test-00000-of-00001.parquet")
    (root / "subtitles").mkdir()
    for _, _, _, name in VIDEOS[:2]:
        (root / "subtitles" / f"{name}.srt").write_text(SUBTITLES)
