"""VideoLLaMA 2: a published folder is asked as it is. Its parity stands in tests/model/test_parity.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from house.command import reelm as command
from model.official_folder import write_official_folder
from parity_root import parity_dir


@pytest.mark.system("videollama2", "cli")
def test_a_published_folder_answers_about_a_file_and_its_sound(media_folder: Path, tmp_path: Path) -> None:
    write_official_folder(parity_dir("audio_video"), "videollama2_qwen2", tmp_path)
    done = command("ask", "clip.mp4", "What is it?", "-m", str(tmp_path), "--json", "--max-tokens", "2",
                   cwd=media_folder)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["audio_used"] and said["files"][0]["used_s"] and said["tokens"]["vision"] > 0
