"""What the link under every e-mail leads to: it silences one channel, and needs no sign-in."""

from html import escape
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse

from engine.api.caller import engine_of
from engine.domains import notifications

router = APIRouter(prefix="/notifications/unsubscribe", tags=["notifications"])
FORM, NOBODY = "'self'", "'none'"
Token = Annotated[str, Path(min_length=1, max_length=100)]
_PAGE = (
    '<!doctype html><html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>RuGPT</title><body>{body}</body></html>"
)
_FORM = '<p>{ask}</p><form method="post"><button type="submit">{yes}</button></form>'


@router.get("/{token}", response_class=HTMLResponse)
async def ask_before_unsubscribing(token: Token, request: Request) -> HTMLResponse:
    """Ask whether to silence a channel: programs that look at every link must not do it."""
    engine_of(request).office.read_unsubscribe(token)
    ask = "Не присылать больше уведомления RuGPT на этот адрес? · Send no more notifications to this address?"
    body = _FORM.format(ask=escape(ask), yes="Не присылать · Unsubscribe")
    return _page(body, form=True)


@router.post("/{token}", response_class=HTMLResponse)
async def unsubscribe(token: Token, request: Request) -> HTMLResponse:
    """Silence a channel at once (RFC 8058); its owner can choose again what it carries."""
    engine = engine_of(request)
    org_id, channel_id = engine.office.read_unsubscribe(token)
    async with engine.database.as_organization(org_id) as tx:
        if not await notifications.mute(tx, channel_id=channel_id):
            raise notifications.UnsubscribeInvalid
    return _page(f"<p>{escape('Готово. · Done.')}</p>", form=False)


def _page(body: str, *, form: bool) -> HTMLResponse:
    policy = f"default-src 'none'; frame-ancestors 'none'; form-action {FORM if form else NOBODY}"
    return HTMLResponse(_PAGE.format(body=body), headers={"Content-Security-Policy": policy})
