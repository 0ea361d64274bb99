"""Browsers keep their refresh token in a cookie: no script reads it, and no other site uses it."""

from urllib.parse import urlsplit

from fastapi import Request, Response

from engine.api.caller import BROWSER_HEADER, engine_of
from engine.api.views import SignedInView
from engine.core.errors import Forbidden
from engine.domains import sessions

COOKIE = "rugpt_refresh"
# Both as the engine sees its address and as browsers do that come through the VPN: /api/v1/web.
_PATH = "/api/v1"
_LONGEST = 320
_PORTS = {"http": 80, "https": 443}


class ForeignOrigin(Forbidden):
    code = "foreign_origin"

    def __init__(self) -> None:
        super().__init__(
            "This page comes from another address than the engine's. Where a proxy changes the address, "
            "tell the engine the one that people use: RUGPT_PUBLIC_URL."
        )


def is_browser(request: Request) -> bool:
    """Tell whether our own web client asks; raises ForeignOrigin when a page of another site does.

    The header is the proof: a foreign page can send it only after a preflight that nobody here answers.
    """
    if request.headers.get(BROWSER_HEADER) != "web":
        return False
    origin = request.headers.get("origin")
    if origin is not None and _place(origin) not in _own_places(request):
        raise ForeignOrigin
    return True


def cookie_of(request: Request) -> str | None:
    """Return the refresh token that a browser keeps, if any; ask `is_browser` first."""
    token = request.cookies.get(COOKIE)
    return token if token and len(token) <= _LONGEST else None


def answer(request: Request, response: Response, signed_in: sessions.SignedIn) -> SignedInView:
    """Show who signed in; to a browser the refresh token goes in the cookie and not in the body."""
    view = SignedInView.of(signed_in)
    if not is_browser(request):
        return view
    response.set_cookie(
        COOKIE,
        signed_in.refresh_token,
        max_age=engine_of(request).settings.refresh_token_days * 86_400,
        path=_PATH,
        secure=_is_secure(request),
        httponly=True,
        samesite="strict",
    )
    return view.model_copy(update={"refresh_token": None})


def forget_cookie(request: Request, response: Response) -> None:
    """Let a browser throw its token away."""
    response.delete_cookie(COOKIE, path=_PATH, secure=_is_secure(request), httponly=True, samesite="strict")


def _is_secure(request: Request) -> bool:
    # The scheme is what a trusted proxy says. A browser that says it is on https is believed too: it
    # would harm only itself.
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")


def _own_places(request: Request) -> set[tuple[str, int | None] | None]:
    # A proxy speaks plain HTTP to us, so the scheme of our own address may not be the browser's.
    host = request.headers.get("host", "")
    places = {_place(f"{scheme}://{host}") for scheme in _PORTS}
    public_url = engine_of(request).settings.public_url
    if public_url is not None:
        places.add(_place(public_url))
    return places - {None}


def _place(address: str) -> tuple[str, int | None] | None:
    """Return the host and port of an address, or None of what is none, such as the origin `null`."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not host:
        return None
    return host, port or _PORTS[parts.scheme]
