"""A server on this machine alone that shows a page of edits and saves its marks beside it.

Its address holds a random token; requests without it, from pages of others or under another name of
this machine, are refused. It serves the files of the page and writes nothing but `marks.json`.
"""

import re
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hdmodel.atomic import write_atomically
from hdmodel.errors import InputError
from pipeline.inspection.audit import EDITS, MARKS, read_listing
from pipeline.inspection.audit_marks import check_marks, parse_marks
from pipeline.inspection.files import json_text
from pipeline.inspection.page import IMAGES, PAGE

HOST = "127.0.0.1"
MOST_BYTES = 8 * 1024 * 1024
"""Of marks that are saved."""
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".jpg": "image/jpeg",
}


class AuditServer(ThreadingHTTPServer):
    """Serves one page of edits; `with` closes it.

    Args:
        folder: The folder of the page.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listing = read_listing(folder)
        pictures = {f"{IMAGES}/{path.name}" for path in (folder / IMAGES).iterdir()}
        self.files = pictures | {PAGE, EDITS, MARKS}
        self.token = secrets.token_urlsafe(16)
        super().__init__((HOST, 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as above it
        """Say what broke, unless it is a browser that went away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://{HOST}:{self.server_port}"

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"{self.origin}/{self.token}/"


def serve_audit(folder: Path, announce: Callable[[str], None]) -> None:
    """Serve a page of edits until Ctrl-C.

    Args:
        folder: The folder of the page.
        announce: Is told the address.
    """
    with AuditServer(folder) as server, suppress(KeyboardInterrupt):
        announce(server.address)
        server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: AuditServer
    timeout = 30

    def do_GET(self) -> None:
        """Send a file of the page."""
        name = self._name()
        if name is None:
            return
        path = self.server.folder / name
        if not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        content = path.read_bytes()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", TYPES[path.suffix])
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def do_PUT(self) -> None:
        """Save the marks."""
        name = self._name()
        if name is None:
            return
        if name != MARKS:
            self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)
            return
        if self.headers.get("Origin") != self.server.origin:
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,9}", length):
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            return
        if int(length) > MOST_BYTES:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        try:
            marks = parse_marks(self.rfile.read(int(length)), origin="request")
            check_marks(marks, self.server.listing)
        except InputError:
            self.send_error(HTTPStatus.BAD_REQUEST, "these are no marks of this page")
            return
        write_atomically(self.server.folder / MARKS, json_text(marks.to_plain()).encode())
        self.send_response(HTTPStatus.NO_CONTENT)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing of single requests."""

    def _name(self) -> str | None:
        """The file that a request asks for; None if it was refused."""
        here = f"{HOST}:{self.server.server_port}"
        _, token, *rest = self.path.split("/", 2) if self.path.startswith("/") else ("", "")
        known = secrets.compare_digest(token.encode(), self.server.token.encode())
        name = (rest[0] if rest else "") or PAGE
        if self.headers.get("Host") == here and known and rest and name in self.server.files:
            return name
        self.send_error(HTTPStatus.NOT_FOUND)
        return None
