"""A judge behind an OpenAI-compatible address: POST {address}/chat/completions, and nothing believed without a look.

The key comes from the environment and goes into one header; it is not kept, printed, or put into an error. Proxies of
the environment are not used, redirects are not followed: the key would travel with them.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import math
import os
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from time import time
from typing import Any
from urllib.parse import urlsplit

from reelm.errors import PolicyError, UsageError
from reelm.eval.judge import Declined, JudgeSettings, Reply, Unreachable
from reelm.eval.verdicts import spoken
from reelm.types import Message

#: The variable that holds the key unless another is named; never another service's, which would leak it.
KEY = "REELM_JUDGE_KEY"
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
_DECLINED = {400, 413, 422, 451}
_MAX_BYTES = 4 << 20
_BLOCK_BYTES = 1 << 16


class Endpoint:
    """The model `model` at `address`, for example `Endpoint("qwen", "http://127.0.0.1:8000/v1")`.

    `key_env`: the environment variable with the key; none is sent when it is empty or unset. `version`: what tells
    this model from a later one of the same name (a date, a revision); it stands beside every verdict. `timeout_s`: for
    one call from connection to last byte, however slowly the bytes come.
    Raises: UsageError (no http address), PolicyError (a key would travel unencrypted to another machine).
    """

    def __init__(self, model: str, address: str, *, key_env: str = KEY, version: str = "",
                 timeout_s: float = 120.0) -> None:
        self.model, self.address, self.timeout_s = model, address.rstrip("/"), timeout_s
        self.name, self.version, self._key_env = f"{model}@{self.address}", version, key_env
        try:
            parts = urlsplit(self.address)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError as error:
            raise UsageError(f"is no address ({error})", where=address, remedy="Write https://host/v1") from None
        wrong = parts.query or parts.fragment or "@" in parts.netloc
        if parts.scheme not in ("http", "https") or not self._host or wrong:
            raise UsageError("is no plain http or https address", where=_bare(address), remedy="Write https://host/v1")
        self._safe, self._path = parts.scheme == "https", f"{parts.path}/chat/completions"
        if self._key() and not self._safe and not _here(self._host):
            raise PolicyError(f"the key in ${key_env} would travel unencrypted", where=address,
                              remedy=f"Use https:, or unset {key_env} if this server wants no key")

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r})"

    def reply(self, messages: Sequence[Message], settings: JudgeSettings, seed: int) -> Reply:
        """One reply; `seed` is not sent, as not every server knows it."""
        body = {"model": self.model, "messages": spoken(messages), "temperature": settings.temperature,
                "top_p": settings.top_p, "stream": False}
        if settings.max_tokens is not None:
            body["max_tokens"] = settings.max_tokens
        status, wait_s, data = self._post(json.dumps(body).encode())
        if status != 200:
            self._refused(status, wait_s, data)
        return self._read(data)

    def _read(self, data: bytes) -> Reply:
        """The text in a reply of the protocol; whatever else came is no reply."""
        try:
            said = json.loads(data)
            text, model = said["choices"][0]["message"]["content"], said.get("model", self.model)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise Unreachable("answered 200 with something that is no chat completion: "
                              f"{self._clean(data)!r}", where=self.name, remedy="Check the address") from None
        if not isinstance(text, str) or not text.strip() or not isinstance(model, str):
            raise Unreachable("answered with an empty message", where=self.name, remedy="Check the server's log")
        return Reply(self._without_key(text), self._without_key(model))

    def _refused(self, status: int, wait_s: float, data: bytes) -> None:
        what = f"answered {status}: {self._clean(data)}"
        if status in _PASSING:
            raise Unreachable(what, where=self.name, remedy="Wait, or ask fewer at a time", wait_s=wait_s)
        if status in _DECLINED:
            raise Declined(what, where=self.name, remedy="See what the server says about this question")
        remedy = {401: f"Put the right key into ${self._key_env}", 403: f"Put the right key into ${self._key_env}",
                  404: "Check the address (it usually ends in /v1) and the model's name"}
        raise UsageError(what, where=self.name, remedy=remedy.get(status, "Give the server's final address"))

    def _post(self, body: bytes) -> tuple[int, float, bytes]:
        """Status, seconds to wait and content of one exchange, cut when its time is over."""
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "reelm",
                   "Connection": "close"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        connection: http.client.HTTPConnection
        if self._safe:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=self.timeout_s,
                                                     context=ssl.create_default_context())
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self.timeout_s)
        over = threading.Event()
        lines: list[socket.socket] = []
        timer = threading.Timer(self.timeout_s, _cut, (over, lines))
        timer.daemon = True
        timer.start()
        try:
            connection.connect()
            lines.append(connection.sock)
            connection.request("POST", self._path, body, headers)
            reply = connection.getresponse()
            answered = reply.status, _wait_s(reply.getheader("Retry-After")), self._whole(reply)
            if over.is_set():  # a line that is cut among the headers looks like their end
                raise TimeoutError
            return answered
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(self._clean((str(error) or type(error).__name__).encode()) if not over.is_set() else
                              f"no whole reply within {self.timeout_s:g} s", where=self.name,
                              remedy="Check the address and the connection") from None
        finally:
            timer.cancel()
            connection.close()

    def _whole(self, reply: http.client.HTTPResponse) -> bytes:
        """The content, all of it: a connection that ends early is an error even where http.client does not mind."""
        promised, blocks, size = reply.length, [], 0
        while block := reply.read1(_BLOCK_BYTES):
            blocks.append(block)
            size += len(block)
            if size > _MAX_BYTES:
                raise http.client.HTTPException(f"the reply is above {_MAX_BYTES:,} bytes")
        if promised is not None and size < promised:
            raise http.client.HTTPException(f"the reply ends after {size:,} of {promised:,} bytes")
        return b"".join(blocks)

    def _key(self) -> str:
        key = os.environ.get(self._key_env, "") if self._key_env else ""
        if not key.isascii() or any(ord(sign) <= 32 for sign in key):
            raise UsageError(f"${self._key_env} holds something that is no key", remedy="Set it again, without spaces")
        return key

    def _without_key(self, text: str) -> str:
        """The text with the key taken out: servers repeat it in their complaints."""
        key = self._key()
        return text.replace(key, "(the key)") if key else text

    def _clean(self, data: bytes) -> str:
        """A server's own words for an error, short, on one line."""
        text = data.decode("utf-8", "replace")
        with suppress(ValueError, LookupError, TypeError, RecursionError):
            said: Any = json.loads(text)["error"]
            text = str(said["message"] if isinstance(said, dict) else said)
        return " ".join(self._without_key(text).split())[:300]


def _cut(over: threading.Event, lines: list[socket.socket]) -> None:
    over.set()
    for line in lines:
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


def _wait_s(text: str | None) -> float:
    """What a Retry-After header asks for, in seconds; 0 where it says nothing that can be read."""
    with suppress(ValueError, TypeError):
        seconds = float(text or 0)
        return max(0.0, seconds) if math.isfinite(seconds) else 0.0
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(str(text)).timestamp() - time())
    return 0.0


def _here(host: str) -> bool:
    """Whether a host is this very machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bare(address: str) -> str:
    """An address without the name and password it may carry."""
    scheme, mark, rest = address.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
