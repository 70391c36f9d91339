"""A real HTTP server that speaks the chat-completions protocol, and every way of breaking it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: What a test tells the server to do with one request.
Act = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    server: Served

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append({"path": self.path, "headers": dict(self.headers), "body": body})
            act = self.server.acts.pop(0) if self.server.acts else self.server.always
        act(self, body)

    def answer(self, status: int, data: bytes, headers: dict[str, str] | None = None,
               length: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        return


class Served(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.acts: list[Act] = []
        self.always: Act = says('{"pred": "yes", "score": 4}')
        self.seen: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        return  # a client that hangs up is part of the tests


@contextmanager
def serving() -> Iterator[Served]:
    server = Served()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def completion(text: object, model: str = "served-model-2") -> bytes:
    return json.dumps({"model": model, "choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


def says(text: object, model: str = "served-model-2") -> Act:
    """Answers as the protocol wants."""
    return lambda handler, body: handler.answer(200, completion(text, model))


def fails(status: int, message: str = "overloaded", headers: dict[str, str] | None = None) -> Act:
    """Answers with an error of the protocol."""
    data = json.dumps({"error": {"message": message}}).encode()
    return lambda handler, body: handler.answer(status, data, headers)


def sends(data: bytes, length: int | None = None) -> Act:
    """Answers 200 with these bytes and, if given, another length than they have."""
    def act(handler: Handler, body: dict[str, Any]) -> None:
        handler.answer(200, data, length=length)
        handler.close_connection = True
    return act


def hangs_up(handler: Handler, body: dict[str, Any]) -> None:
    """Cuts the connection without a word."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def sleeps(seconds: float) -> Act:
    """Says nothing for so long."""
    return lambda handler, body: time.sleep(seconds)


def drips(letters: bytes, every_s: float) -> Act:
    """Sends a reply letter by letter, so that no single read is slow."""
    def act(handler: Handler, body: dict[str, Any]) -> None:
        for letter in letters:
            handler.wfile.write(bytes([letter]))
            handler.wfile.flush()
            time.sleep(every_s)
    return act
