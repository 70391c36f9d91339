"""Fetching media: which hosts and addresses, how much, how long. The server is real and on this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from media.coded import number_in, write_numbered
from reelm import media
from reelm.errors import BudgetError, MediaError, PolicyError, ReelmError
from reelm.media.http import Opener, _is_public
from reelm.types import Clip

LOOPBACK = ("127.0.0.0/8",)


class Site(BaseHTTPRequestHandler):
    """A few pages, each with its own way of being difficult."""

    film = b""
    asked: list[str] = []

    def do_GET(self) -> None:
        Site.asked.append(self.path)
        with contextlib.suppress(OSError):
            getattr(self, "_" + self.path.strip("/").split("/")[0].split("?")[0], self._missing)()

    def _film(self) -> None:
        self._say(200, self.film, **{"Content-Length": str(len(self.film))})

    def _unsized(self) -> None:
        self._say(200, self.film)

    def _moved(self) -> None:
        self._say(302, Location="/film")

    def _inward(self) -> None:
        self._say(302, Location="http://169.254.169.254/latest/meta-data")

    def _elsewhere(self) -> None:
        self._say(301, Location=f"http://localhost:{self.server.server_address[1]}/film")

    def _round(self) -> None:
        self._say(302, Location="/round")

    def _packed(self) -> None:
        self._say(200, b"x", **{"Content-Encoding": "gzip"})

    def _short(self) -> None:
        self._say(200, self.film[:100], **{"Content-Length": str(len(self.film))})

    def _endless(self) -> None:
        self._say(200)
        while True:
            self.wfile.write(bytes(1 << 16))

    def _drip(self) -> None:
        self._say(200)
        while True:
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.05)

    def _slowhead(self) -> None:
        while True:
            self.wfile.write(b"HTTP/1.0 200 OK\r\nX: y\r\n" if not getattr(self, "begun", 0) else b"X: y\r\n")
            self.begun = True
            self.wfile.flush()
            time.sleep(0.05)

    def _missing(self) -> None:
        self._say(404)

    def _say(self, status: int, body: bytes = b"", **head: str) -> None:
        self.send_response(status)
        for name, value in head.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    Site.film = write_numbered(tmp_path_factory.mktemp("site") / "a.mp4", 20, 25).read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def opener(site: str) -> Opener:
    Site.asked.clear()
    return Opener(hosts=(site,), networks=LOOPBACK, plain=True, timeout_s=20)


@pytest.mark.parametrize("page", ["film", "unsized", "moved", "film?x=ö y"])
def test_a_film_is_fetched_and_becomes_a_clip(opener: Opener, site: str, page: str) -> None:
    kept = opener.fetch(f"http://{site}/{page}".replace(" ", "%20"))
    with kept, media.open(Clip(kept)) as reader:
        assert [number_in(rgb) for rgb in reader.frames([0.0, 0.4]).rgb] == [0, 10]
        assert reader.info().source.startswith("http://127.0.0.1")


@pytest.mark.parametrize(("url", "says"), [
    ("https://example.org/a", "not among those allowed"), ("ftp://{}/a", "no http or https"), ("file:///x", "no http"),
    ("http://user:word@{}/film", "name or password"), ("http://{}:1/film", "is no address"), ("http://", "no http"),
    ("http://127.0.0.1/film", "not among"), ("http://{}.example.org/film", "not among|no address"),
    ("http://{}/a b", "no http"), ("http://{}/a\r\nX: y", "no http"), ("//{}/film", "no http")])
def test_other_addresses_are_refused_before_anything_is_sent(opener: Opener, site: str, url: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        opener.fetch(url.format(site))
    assert Site.asked == []


def test_without_permission_neither_plain_http_nor_loopback(opener: Opener, site: str) -> None:
    with pytest.raises(PolicyError, match="not encrypted"):
        replace(opener, plain=False).fetch(f"http://{site}/film")
    with pytest.raises(PolicyError, match=r"127\.0\.0\.1, which is not a public address"):
        replace(opener, networks=()).fetch(f"http://{site}/film")
    port = site.rpartition(":")[2]
    for disguise in ("2130706433", "0x7f.1", "127.1", "localhost", "[::ffff:127.0.0.1]", "[::1]"):
        with pytest.raises(PolicyError, match="not a public address"):
            host = f"{disguise}:{port}"
            Opener(hosts=(host,), plain=True, timeout_s=5).fetch(f"http://{host}/film")
    assert Site.asked == []


@pytest.mark.parametrize(("address", "public"), [
    ("93.184.216.34", True), ("2606:4700::1111", True), ("10.1.2.3", False), ("172.16.0.1", False),
    ("192.168.1.1", False), ("169.254.169.254", False), ("100.100.100.200", False), ("168.63.129.16", False),
    ("0.0.0.0", False), ("224.0.0.1", False), ("240.0.0.1", False), ("::1", False), ("fd00:ec2::254", False),
    ("fe80::1", False), ("::ffff:10.0.0.1", False), ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False),
    ("64:ff9b::5db8:d822", True), ("ff02::1", False), ("::", False)])
def test_which_addresses_are_public(address: str, public: bool) -> None:
    import ipaddress

    assert _is_public(ipaddress.ip_address(address)) is public


def test_redirects_pass_the_same_checks(opener: Opener, site: str) -> None:
    for page in ("inward", "elsewhere"):
        with pytest.raises(PolicyError, match="not among those allowed"):
            opener.fetch(f"http://{site}/{page}")
    with pytest.raises(PolicyError, match=r"169\.254\.169\.254, which is not a public"):
        replace(opener, hosts=(*opener.hosts, "169.254.169.254")).fetch(f"http://{site}/inward")
    with pytest.raises(MediaError, match="more than 3 times"):
        opener.fetch(f"http://{site}/round")


def test_a_name_that_changes_its_mind_leads_nowhere(opener: Opener, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebinding name is public when it is checked and loopback afterwards; it is looked up only once."""
    port = site.rpartition(":")[2]
    real, looked_up, answers = socket.getaddrinfo, [], iter(["203.0.114.9", "127.0.0.1", "127.0.0.1"])
    reached: list[str] = []

    def lookup(host: str, *rest: Any, **more: Any) -> Any:
        if host == "evil.example":
            looked_up.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), 0))]
        reached.append(host)
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(ReelmError):  # nobody is at home there, which is the point
        fast = replace(opener, hosts=(f"evil.example:{port}",), networks=(), timeout_s=0.5)
        fast.fetch(f"http://evil.example:{port}/film")
    assert looked_up == ["evil.example"] and set(reached) <= {"203.0.114.9"} and Site.asked == []


def test_one_bad_address_among_good_ones_is_enough_to_refuse(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ("203.0.114.9", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: rows)
    with pytest.raises(PolicyError, match=r"10\.0\.0\.1"):
        replace(opener, hosts=("mixed.example",)).fetch("http://mixed.example/film")


def test_size_and_time_are_limited(opener: Opener, site: str) -> None:
    for page in ("film", "unsized", "endless"):
        with pytest.raises(BudgetError, match="1,000 allowed"):
            replace(opener, max_bytes=1000).fetch(f"http://{site}/{page}")
    for page in ("drip", "slowhead"):
        began = time.monotonic()
        with pytest.raises(BudgetError, match=r"longer than the 0\.6 s"):
            replace(opener, timeout_s=0.6).fetch(f"http://{site}/{page}")
        assert time.monotonic() - began < 5


def test_a_server_that_never_says_a_word_of_tls_is_left(opener: Opener) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(BudgetError, match=r"longer than the 0\.5 s"):
            replace(opener, hosts=(host,), timeout_s=0.5).fetch(f"https://{host}/film")


@pytest.mark.parametrize(("page", "says"), [
    ("packed", "compressed"), ("short", "ends after 100 of"), ("nothing", "answers 404")])
def test_what_the_server_does_wrong_is_said(opener: Opener, site: str, page: str, says: str) -> None:
    with pytest.raises(MediaError, match=says):
        opener.fetch(f"http://{site}/{page}")


def test_no_connection_and_no_such_host(opener: Opener, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
    for gone in (host, "no-such-host.invalid"):
        with pytest.raises(MediaError, match="cannot be fetched"):
            replace(opener, hosts=(gone,)).fetch(f"http://{gone}/film")
