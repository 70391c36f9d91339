"""Names of models on the hub: found only where they were pulled to; pulled with what they build on."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from house.command import python
from model import published_folders as made
from reelm.errors import CheckpointError
from reelm.model.hub import is_hub_id, locate

SHA = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """The answers of a hub that pulling needs: what a repository holds, and a file of it."""

    root: Path

    def do_HEAD(self) -> None:  # noqa: N802 - the name is the library's
        self.do_GET()

    def do_GET(self) -> None:  # noqa: N802
        words = self.path.split("?")[0].strip("/").split("/")
        if words[:2] == ["api", "models"]:
            folder = self.root / "/".join(words[2:4])
            if not folder.is_dir():
                return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
            if "tree" in words:
                return self._send(200, json.dumps([{"type": "file", "path": name, "oid": SHA, "size": 1}
                                                   for name in names]).encode(), {"Content-Type": "application/json"})
            siblings = [{"rfilename": name} for name in names]
            return self._send(200, json.dumps({"id": "/".join(words[2:4]), "sha": SHA, "siblings": siblings,
                                               "private": False}).encode(), {"Content-Type": "application/json"})
        content = (self.root / "/".join(words[:2] + words[4:])).read_bytes()
        return self._send(200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": SHA})

    def _send(self, code: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Mine", (Hub,), {"root": tmp_path / "hub"}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_pulling_a_base_brings_language_model_and_tower_and_then_it_loads(hub: str, tmp_path: Path,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tmp_path / "hub" / "them"
    made.write_base(owner / "base", _name_or_path="them/llm", mm_vision_tower="them/tower")
    monkeypatch.setenv("HF_ENDPOINT", hub)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    done = python("from reelm.cli.main import app; app(['model', 'pull', 'them/base'])")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("fetching")] == [
        "fetching them/base", "fetching them/llm", "fetching them/tower"]
    asked = "import reelm; print(reelm.load('them/base', device='cpu').answer('Hi?', max_tokens=2).tokens['new'])"
    done = python(asked)
    assert done.stdout.strip() in ("1", "2"), done.stderr
    done = python("from reelm.cli.main import app; app(['model', 'pull', 'them/nothing'])")
    assert done.returncode == 4 and "cannot fetch 'them/nothing'" in done.stderr


def test_a_name_that_was_not_pulled_is_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="reelm model pull nobody/nothing"):
        locate("nobody/nothing")
    assert is_hub_id("a/b") and not any(map(is_hub_id, ("a", "./a", "/a/b", "a/b/c", "~/a")))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert not is_hub_id("a/b") and locate("a/b") == Path("a/b")
