"""`reelm model import | export`: folders carried between the forms from the shell."""

from __future__ import annotations

from pathlib import Path

import torch

from house.command import reelm
from model import published_folders as made
from reelm.model.files import read_weights


def test_a_published_folder_comes_back_from_our_form_bit_by_bit(tmp_path: Path) -> None:
    made.write_av(tmp_path / "a")
    ours, back = str(tmp_path / "ours"), str(tmp_path / "back")
    done = reelm("model", "import", "--official", str(tmp_path / "a"), ours)
    assert done.returncode == 0, done.stderr
    done = reelm("model", "export", ours, back, "--official", "--shard-mb", "1")
    assert done.returncode == 0 and "model-00001-of-" in done.stderr
    before, after = read_weights(tmp_path / "a"), read_weights(back)
    assert set(after) <= set(before) and all(torch.equal(before[name], after[name]) for name in after)
    assert all("relative_attention_bias" in name for name in set(before) - set(after))  # shared: stored once


def test_a_base_folder_becomes_one_whole_folder(tmp_path: Path) -> None:
    made.write_base(tmp_path / "base")
    done = reelm("model", "import", str(tmp_path / "base"), str(tmp_path / "ours"))
    assert done.returncode == 0 and (tmp_path / "ours" / "model.safetensors").is_file()


def test_mistakes_are_usage_errors(tmp_path: Path) -> None:
    made.write_family(tmp_path / "a", "llama")
    path = str(tmp_path / "a")
    for args, said in ((("import", path, path), "is there already"),
                       (("export", path, str(tmp_path / "b")), "--official"),
                       (("check", path, "--question", "x"), "belong together"),
                       (("check", path, "--ask", "x.mp4"), "does nothing")):
        done = reelm("model", *args)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    reelm("model", "import", path, str(tmp_path / "ours"))
    assert reelm("model", "import", "--official", str(tmp_path / "ours"), str(tmp_path / "c")).returncode == 2
