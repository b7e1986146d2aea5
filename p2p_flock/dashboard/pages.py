"""The page's files: read once when the server starts, and given away by exact name, so that no path leads elsewhere.

Called by ``server.py``.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from p2p_flock.dashboard.answers import error_response

FILES_MAX = 256
FILE_BYTES_MAX = 4 << 20
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
}
LIBRARIES = "vendor/"  # put there by scripts/setup; without them the page is only a title
_NO_PAGE = b"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>p2p_flock</title></head><body>
<h1>The page's files are missing</h1>
<p>This node runs, but its dashboard was not built. In the repository run <code>scripts/setup</code>, which fetches the
page's libraries, then restart the node. In the terminal, <code>p2p-flock alliance watch</code> shows the same.</p>
</body></html>"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file in memory."""

    content: bytes = field(repr=False)
    media_type: str
    etag: str


def read_static_files(folder: Path) -> dict[str, StaticFile]:
    """Files below ``folder`` by their path from it, ``/`` between; other kinds of files and links are left out.

    A folder that is missing or cannot be read gives none: the page then says so.
    """
    found: dict[str, StaticFile] = {}
    try:
        for path in sorted(folder.rglob("*")):
            kind = MEDIA_TYPES.get(path.suffix)
            if kind is None or path.is_symlink() or not path.is_file() or path.stat().st_size > FILE_BYTES_MAX:
                continue
            if len(found) >= FILES_MAX:
                logger.warning("more than %d files in %s; the rest is not served", FILES_MAX, folder)
                break
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[path.relative_to(folder).as_posix()] = StaticFile(content, kind, etag)
    except OSError as error:
        logger.warning("cannot read the dashboard's files in %s: %s", folder, error.strerror)
    return found


class Pages:
    """``/`` and ``/static/``."""

    def __init__(self, folder: Path) -> None:
        self._files = read_static_files(folder)

    def routes(self) -> list[Route]:
        return [
            Route("/", self._index, methods=["GET"]),
            Route("/static/{name:path}", self._static, methods=["GET"]),
        ]

    async def _index(self, request: Request) -> Response:
        index = self._files.get("index.html")
        if index is None or not any(name.startswith(LIBRARIES) for name in self._files):
            return Response(_NO_PAGE, 503, media_type="text/html; charset=utf-8")
        return _answer(request, index)

    async def _static(self, request: Request) -> Response:
        file = self._files.get(request.path_params["name"])
        if file is None:
            return error_response(404, "NotFound", "there is no such file\nopen the dashboard's first page")
        return _answer(request, file)


def _answer(request: Request, file: StaticFile) -> Response:
    headers = {"etag": file.etag, "cache-control": "no-cache"}  # kept, but asked for anew: the node may be updated
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
