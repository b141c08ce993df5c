"""A web server on this machine that misbehaves as its script says."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from benchmark.datasets.base import Archive

CONTENT = np.random.default_rng(0).bytes(3_000_000)


@dataclass
class Server:
    """What the next requests get: each entry of `script` serves one request, then it behaves."""

    content: bytes = CONTENT
    script: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""

    def archive(self, name: str = "a.zip", **changes) -> Archive:
        digest = hashlib.md5(self.content).hexdigest()
        facts = Archive(f"{self.url}/{name}", name, len(self.content), f"md5:{digest}", 10 * len(self.content))
        return replace(facts, **changes)


@contextmanager
def serve() -> Iterator[Server]:
    """A server on a free port of this machine, until the block ends."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            what = state.script.pop(0) if state.script else "serve"
            if what == "error 500":
                return self.send_error(500)
            if what.startswith("error 4"):
                return self.send_error(int(what.split()[1]))
            body, start = state.content, 0
            if what == "shorter file":
                body = body[:-1000]
            if what == "longer file":
                body += b"more"
            if what.startswith("page"):
                body, asked = b"\n<!DOCTYPE html><title>Quota exceeded</title>", None
            if what == "wrong byte":
                body = body[:1000] + bytes([body[1000] ^ 1]) + body[1001:]
            if asked and what != "ignore range":
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            rest = body[start:]
            if what == "page with a type":
                self.send_header("Content-Type", "text/html; charset=utf-8")
            if what != "no length":
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: len(rest) // 2] if what == "cut" else rest)

        def log_message(self, *_):
            """Keep the tests quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
