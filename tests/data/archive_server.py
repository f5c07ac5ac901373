"""A web server on loopback that hands out one archive, well or badly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class ArchiveServer:
    """What is served: `content` (None: 404) and after how many bytes the connection is cut (None: never)."""

    address: str
    content: bytes | None = None
    cut_after: int | None = None
    gets: list[str] = field(default_factory=list)


@contextmanager
def serve_archive() -> Iterator[ArchiveServer]:
    """Yield a running server, and stop it afterwards."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if served.content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(served.content)))
            self.end_headers()

        def do_GET(self) -> None:
            served.gets.append(self.path)
            self.do_HEAD()
            if served.content is not None:
                self.wfile.write(served.content[: served.cut_after])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = ArchiveServer(f"http://127.0.0.1:{server.server_port}/zipped")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
