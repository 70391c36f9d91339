"""Media from the web, only through an opener that names its hosts; nothing else in reelm opens a connection.

A name is resolved once, every address it has is checked, and the connection goes to one of those very addresses: a name
that points elsewhere a moment later (DNS rebinding) leads nowhere. Every redirect goes through the same checks.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from reelm.errors import BudgetError, MediaError, PolicyError
from reelm.media.content import named
from reelm.media.limits import Deadline

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
#: An address that answers for a cloud provider although it looks like any other (Azure's wire server).
_METADATA = (ipaddress.ip_address("168.63.129.16"),)
_BLOCK_BYTES = 1 << 16
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "reelm"}
_UNQUOTED = "%/:=&?~+!$,;'@()*[]"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Opener:
    """Fetches media from the named hosts: `Clip(opener.fetch("https://media.example.org/a.mp4"))`.

    `hosts`: "media.example.org" is that host alone, ".example.org" every host below it; "host:8080" allows that port
    instead of 80 and 443. `max_bytes`, `timeout_s`: for one fetch in all, redirects and name look-up included.
    `networks`: address ranges allowed although they are not public, e.g. ("127.0.0.0/8",) for a server on this machine.
    `plain`: whether http: without encryption is allowed. Proxies of the environment are not used, nor are cookies or
    passwords sent.
    """

    hosts: tuple[str, ...]
    max_bytes: int = 1 << 30
    timeout_s: float = 60.0
    max_redirects: int = 3
    networks: tuple[str, ...] = ()
    plain: bool = False

    def fetch(self, url: str) -> BinaryIO:
        """The content behind the address as a binary file without a name on disk, which a `Clip` takes as its source.

        Raises: PolicyError (a host, port, scheme or address that is not allowed, a redirect to one), BudgetError (too
        large or too slow), MediaError (no connection, an error from the server, a broken reply).
        """
        deadline = Deadline(self.timeout_s, url[:200])
        kept = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (the caller closes it)
        try:
            here = url
            for _ in range(self.max_redirects + 1):
                target = self._step(here, kept, deadline)
                if target is None:
                    return named(kept, url[:200])
                if urlsplit(here).scheme == "https" and urlsplit(target).scheme != "https":
                    raise PolicyError("is redirected from https to an address without encryption", where=here[:200],
                                      remedy="Ask the server's owner for an https address")
                here = target
        except BaseException:
            kept.close()
            raise
        kept.close()
        raise MediaError(f"is redirected more than {self.max_redirects} times", where=url[:200],
                         remedy="Give the last address, or pass max_redirects=...")

    def _step(self, url: str, kept: Any, deadline: Deadline) -> str | None:
        """One request: the address it is redirected to, or None once the content lies in `kept`."""
        parts = self._allowed(url)
        try:
            addresses = _resolved(parts, deadline)
            for address in addresses:
                self._check_address(address, parts)
            with _connected(parts, addresses, deadline) as connection:
                wanted = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request("GET", quote(wanted, _UNQUOTED), headers=_HEADERS)
                reply = connection.getresponse()
                if reply.status in _REDIRECTS and reply.getheader("Location"):
                    return urljoin(url, str(reply.getheader("Location")))
                self._take(reply, kept, url, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            deadline.check()  # a connection that is cut because its time is over fails in many ways
            raise MediaError(f"cannot be fetched: {error or type(error).__name__}", where=url[:200],
                             remedy="Check the address and the connection") from None
        return None

    def _allowed(self, url: str) -> SplitResult:
        """The parts of an address whose scheme, host and port are allowed."""
        def refuse(why: str, remedy: str) -> PolicyError:
            return PolicyError(why, where=url[:200], remedy=remedy)

        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError as error:
            raise refuse(f"is no address ({error})", "Write https://host/path") from None
        if parts.scheme not in ("https", "http") or not host or any(ord(sign) <= 32 for sign in url):
            raise refuse("is no http or https address", "Write https://host/path")
        if parts.scheme == "http" and not self.plain:
            raise refuse("is not encrypted (http:)", "Use https:, or pass plain=True")
        if parts.username is not None or parts.password is not None:
            raise refuse("carries a name or password", "Leave them out")
        if not any(_matches(host, port, allowed, parts.scheme) for allowed in self.hosts):
            raise refuse(f"its host {host}{f':{port}' if port else ''} is not among those allowed "
                         f"({', '.join(self.hosts) or 'none'})", "Add it to hosts=(...) if you trust it")
        return parts

    def _check_address(self, address: Address, parts: SplitResult) -> None:
        if any(address in ipaddress.ip_network(network) for network in self.networks):
            return
        if not _is_public(address):
            raise PolicyError(f"{parts.hostname} stands for {address}, which is not a public address",
                              where=parts.geturl()[:200], remedy="Name its range in networks=(...) if it is meant")

    def _take(self, reply: http.client.HTTPResponse, kept: Any, url: str, deadline: Deadline) -> None:
        if reply.status != 200:
            raise MediaError(f"the server answers {reply.status} {reply.reason}", where=url[:200],
                             remedy="Check the address in a browser")
        if (reply.getheader("Content-Encoding") or "identity").lower() != "identity":
            raise MediaError("comes compressed, which was not asked for", where=url[:200],
                             remedy="Download it yourself")
        promised = reply.length
        size = 0
        too_large = BudgetError(f"has {promised or self.max_bytes + 1:,} bytes or more, {self.max_bytes:,} allowed",
                                where=url[:200], remedy="Fetch a smaller file, or pass max_bytes=...")
        if promised is not None and promised > self.max_bytes:
            raise too_large
        while block := reply.read1(_BLOCK_BYTES):
            deadline.check()
            size += len(block)
            if size > self.max_bytes:
                raise too_large
            kept.write(block)
        deadline.check()
        if promised is not None and size < promised:
            raise MediaError(f"ends after {size:,} of {promised:,} bytes", where=url[:200], remedy="Try again")


def _matches(host: str, port: int | None, allowed: str, scheme: str) -> bool:
    name, colon, wanted = allowed.rpartition(":") if allowed.rpartition(":")[2].isdigit() else (allowed, "", "")
    name, host = name.strip("[]").lower(), host.lower()
    port_fits = (port or _PORTS[scheme]) == (int(wanted) if colon else _PORTS[scheme])
    return port_fits and (host.endswith(name) if name.startswith(".") else host == name)


def _is_public(address: Address) -> bool:
    """Whether an address is one of the open internet, looked at through every way of wrapping an IPv4 one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        nat64 = address in ipaddress.ip_network("64:ff9b::/96")
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if nat64 else inner
        if inner is not None:
            return _is_public(inner)
    return (address.is_global and not address.is_multicast and not address.is_reserved and address not in _METADATA)


def _resolved(parts: SplitResult, deadline: Deadline) -> list[Address]:
    """Every address of the host. The look-up runs beside, because it cannot be interrupted."""
    found: list[object] = []

    def look_up() -> None:
        try:
            rows = socket.getaddrinfo(parts.hostname, None, type=socket.SOCK_STREAM)
            found.extend(dict.fromkeys(str(row[4][0]) for row in rows))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(max(0.0, deadline.left_s()))
    deadline.check()
    if not found or isinstance(found[0], Exception):
        raise OSError(f"its host is not known ({found[0] if found else 'no address'})")
    return [ipaddress.ip_address(str(text).split("%")[0]) for text in found]


@contextmanager
def _connected(parts: SplitResult, addresses: list[Address],
               deadline: Deadline) -> Iterator[http.client.HTTPConnection]:
    """A connection to one of the addresses under the host's name, cut when the time is over, whatever happens then."""
    port = parts.port or _PORTS[parts.scheme]
    raw = _first_open(addresses, port, deadline)
    open_sockets = [raw]

    def cut() -> None:
        for one in open_sockets:
            _quietly(lambda one=one: one.shutdown(socket.SHUT_RDWR))  # type: ignore[misc]

    timer = threading.Timer(max(0.001, deadline.left_s()), cut)
    timer.daemon = True
    timer.start()
    try:
        if parts.scheme == "https":
            safe = ssl.create_default_context().wrap_socket(raw, server_hostname=parts.hostname,
                                                            do_handshake_on_connect=False)
            open_sockets.append(safe)
            safe.do_handshake()
        connection = http.client.HTTPConnection(str(parts.hostname), port)
        connection.default_port, connection.auto_open = _PORTS[parts.scheme], 0  # never another connection by name
        connection.sock = open_sockets[-1]
        yield connection
    finally:
        timer.cancel()
        for one in open_sockets:
            _quietly(one.close)


def _first_open(addresses: list[Address], port: int, deadline: Deadline) -> socket.socket:
    for address in addresses[:-1]:
        try:
            return socket.create_connection((str(address), port), timeout=max(0.001, deadline.left_s() / 2))
        except OSError:
            continue
    return socket.create_connection((str(addresses[-1]), port), timeout=max(0.001, deadline.left_s()))


def _quietly(act: Callable[[], object]) -> None:
    try:
        act()
    except OSError:
        return
