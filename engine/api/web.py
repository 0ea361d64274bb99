"""Gives browsers the web client, from memory: a file that was not in its bundle cannot be asked for."""

import asyncio
import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.core.logging import log

# Beside the package, in the repository and in a wheel alike.
BUNDLE = Path(__file__).parents[2] / "web" / "dist"
_INDEX = "index.html"
_HASHED = "assets/"  # Vite names these by their content.
_MOST_FILES, _MOST_BYTES = 1_000, 20_000_000
_WORTH_PACKING = 1_000
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_PACKED_ALREADY = {".ico", ".png", ".woff2"}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "font", "connect", "manifest", "worker")),
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Vary": "Accept-Encoding",
}
_BASE = re.compile(r'<meta\s+name="rugpt-base"[^>]*>')
_NOT_BUILT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>RuGPT Engine</title>
<h1>RuGPT Engine works, but its web client is not built yet</h1>
<p>Run <code>scripts/web</code> on the server: it builds the client, or says what it lacks. Then reload this
page; the engine need not be started again. <code>scripts/rugpt chat</code> works without it.</p>
<h1 lang="ru">RuGPT Engine работает, но его веб-клиент ещё не собран</h1>
<p lang="ru">Запустите на сервере <code>scripts/web</code>: он соберёт клиент или скажет, чего не хватает.
Затем обновите эту страницу; перезапускать движок не нужно. <code>scripts/rugpt chat</code> работает и
без него.</p>
</html>
"""


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it is sent."""

    content: bytes
    packed: bytes | None
    type: str
    tag: str
    keeps: str

    @classmethod
    def of(cls, name: str, content: bytes) -> "_File":
        suffix = Path(name).suffix
        packs = len(content) >= _WORTH_PACKING and suffix not in _PACKED_ALREADY
        return cls(
            content,
            gzip.compress(content, mtime=0) if packs else None,
            _TYPES.get(suffix, "application/octet-stream"),
            f'W/"{hashlib.sha256(content).hexdigest()[:32]}"',
            "public, max-age=31536000, immutable" if name.startswith(_HASHED) else "no-cache",
        )


class WebClient:
    """Answers what no route of the API answers; a plain word after the slash gets its page."""

    def __init__(self, folder: Path, *, base: str, otherwise: ASGIApp) -> None:
        self._folder = folder
        self._base = base
        self._otherwise = otherwise
        self._files: Mapping[str, _File] = {}
        self._read_at: tuple[int, int] | None = None
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or _is_of_the_api(path):
            await self._otherwise(scope, receive, send)
            return
        name = path.removeprefix("/")
        if name not in self._files or name == _INDEX:
            await self._look_for_a_newer_bundle()
        if name not in self._files:
            if (
                "." in name or "/" in name
            ):  # A file; or so deep that the page's own files would be sought there.
                await self._otherwise(scope, receive, send)
                return
            name = _INDEX
        await self._response(name, Headers(scope=scope))(scope, receive, send)

    def _response(self, name: str, headers: Headers) -> Response:
        file = self._files.get(name)
        if file is None:
            return Response(_NOT_BUILT, 503, {**_HEADERS, "Cache-Control": "no-cache"}, "text/html")
        told = {**_HEADERS, "Cache-Control": file.keeps, "ETag": file.tag}
        if file.tag in headers.get("if-none-match", ""):
            return Response(status_code=304, headers=told)
        content = file.content
        if file.packed is not None and "gzip" in headers.get("accept-encoding", ""):
            content = file.packed
            told["Content-Encoding"] = "gzip"
        return Response(content, headers={**told, "Content-Type": file.type})

    async def _look_for_a_newer_bundle(self) -> None:
        """Read the bundle when its page is not the one that was read: it may be built while we serve."""
        async with self._turn:
            try:
                stat = (self._folder / _INDEX).stat()
                read_at = (stat.st_mtime_ns, stat.st_ino)
                if read_at == self._read_at:
                    return
                files = await asyncio.to_thread(_read, self._folder, self._base)
            except OSError as error:
                if self._read_at is not None:  # The one in memory still serves.
                    log.warning("web_client_not_read", error=repr(error))
                return
            self._files, self._read_at = files, read_at


def _is_of_the_api(path: str) -> bool:
    return path == "/api" or path.startswith("/api/")


def _read(folder: Path, base: str) -> dict[str, _File]:
    files: dict[str, _File] = {}
    size = 0
    for place in sorted(folder.rglob("*")):
        name = place.relative_to(folder).as_posix()
        if place.is_symlink() or not place.is_file() or any(part[0] == "." for part in name.split("/")):
            continue
        content = place.read_bytes()
        size += len(content)
        if size > _MOST_BYTES or len(files) == _MOST_FILES:
            raise OSError(f"{folder} is too large to be the web client")
        files[name] = _File.of(name, _with_base(content, base) if name == _INDEX else content)
    return files


def _with_base(page: bytes, base: str) -> bytes:
    """Say in the page where the API is, as its browsers see it."""
    text = page.decode()
    said = f'<meta name="rugpt-base" content="{escape(base)}">'
    if _BASE.search(text):
        return _BASE.sub(lambda _: said, text, count=1).encode()
    return text.replace("<head>", f"<head>{said}", 1).encode()
