"""Hands letters to an SMTP server, and knows what its answers mean."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib
from aiosmtplib import SMTP
from aiosmtplib.errors import (
    SMTPAuthenticationError,
    SMTPConnectError,
    SMTPException,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)

from engine.adapters.mail.letters import Letter
from engine.core.errors import Invalid
from engine.domains.notifications import DeliveryDelayed, DeliveryRefused, DeliveryUnknown

TALK_SECONDS = 15.0  # for each thing the server is asked
MOST_IDLE = 8
Tls = Literal["starttls", "implicit", "none"]
_PORTS: dict[Tls, int] = {"starttls": 587, "implicit": 465, "none": 25}
_UNFIT = ("\r", "\n", "\0", "<", ">", " ")


class SmtpUrlInvalid(Invalid):
    """RUGPT_SMTP_URL is smtp://user:password@host:port?tls=starttls, with tls=implicit or none instead."""

    code = "smtp_url_invalid"


class Mailbox(Protocol):
    """The way a letter leaves the building."""

    async def deliver(self, letter: Letter) -> None:
        """Hand a letter over, or raise DeliveryDelayed, DeliveryRefused or DeliveryUnknown."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where letters are handed over, and how."""

    host: str
    port: int
    tls: Tls
    username: str | None
    password: str | None


def read_smtp_url(url: str) -> SmtpServer:
    """Return what RUGPT_SMTP_URL says, or raise SmtpUrlInvalid; the password is not repeated."""
    problem = "RUGPT_SMTP_URL must look like smtp://user:password@host:587?tls=starttls (implicit, none)."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SmtpUrlInvalid(problem) from None
    options = parse_qs(parts.query, keep_blank_values=True)
    tls = options.pop("tls", ["starttls"])
    if parts.scheme != "smtp" or not parts.hostname or parts.path not in ("", "/") or options:
        raise SmtpUrlInvalid(problem)
    if len(tls) != 1 or tls[0] not in _PORTS:
        raise SmtpUrlInvalid(problem)
    kind: Tls = "implicit" if tls[0] == "implicit" else "none" if tls[0] == "none" else "starttls"
    return SmtpServer(
        host=parts.hostname,
        port=port or _PORTS[kind],
        tls=kind,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


class SmtpMailbox:
    """One server; connections that a letter has gone over are kept for the next one."""

    def __init__(
        self,
        server: SmtpServer,
        *,
        talk_seconds: float = TALK_SECONDS,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._server = server
        self._talk_seconds = talk_seconds
        self._context = context or ssl.create_default_context()
        self._idle: list[SMTP] = []

    @property
    def has_login(self) -> bool:
        """Whether we sign in."""
        return self._server.username is not None

    async def deliver(self, letter: Letter) -> None:
        """Hand a letter over; TLS, where it is configured, is never done without."""
        refuse_unfit(letter)
        client = await self._connected()
        try:
            await self._hand_over(client, letter)
        except BaseException:
            client.close()
            raise
        if len(self._idle) < MOST_IDLE:
            self._idle.append(client)
        else:
            await _quit(client)

    async def check(self) -> None:
        """Connect and sign in, as for a letter, and hang up; raises what `deliver` would."""
        await _quit(await self._connect())

    async def close(self) -> None:
        """Hang up."""
        idle, self._idle = self._idle, []
        for client in idle:
            await _quit(client)

    async def _connected(self) -> SMTP:
        """Return a connection that the server still listens on."""
        while self._idle:
            client = self._idle.pop()
            try:
                async with asyncio.timeout(self._talk_seconds):
                    await client.rset()
            except (SMTPException, OSError, ValueError):
                client.close()  # It was kept too long for the server's taste.
            else:
                return client
        return await self._connect()

    async def _connect(self) -> SMTP:
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            timeout=self._talk_seconds,
            use_tls=server.tls == "implicit",
            start_tls=False,
            tls_context=self._context,
        )
        try:
            async with asyncio.timeout(self._talk_seconds * 2):
                await client.connect()
                if server.tls == "starttls":
                    await client.starttls()  # Raises where the server does not offer it.
                if server.username:
                    await client.login(server.username, server.password or "")
        except SMTPAuthenticationError as error:
            client.close()
            raise DeliveryDelayed(f"the mail server refuses our login: {_said(error)}") from error
        except (SMTPException, OSError, ValueError) as error:
            client.close()
            raise DeliveryDelayed(f"the mail server cannot be reached: {_said(error)}") from error
        return client

    async def _hand_over(self, client: SMTP, letter: Letter) -> None:
        try:
            await client.mail(letter.sender)
            await client.rcpt(letter.recipient)
        except (SMTPRecipientRefused, SMTPSenderRefused) as error:
            # 5.1: there is no such mailbox. What else is refused may be our own fault, such as no relaying.
            has_no_mailbox = isinstance(error, SMTPRecipientRefused) and error.message.startswith("5.1.")
            if error.code >= 500:
                raise DeliveryRefused(_said(error), breaks_channel=has_no_mailbox) from error
            raise DeliveryDelayed(_said(error)) from error
        except (SMTPException, OSError, ValueError) as error:
            raise DeliveryDelayed(_said(error)) from error
        try:
            # Once the last byte is out, only the server knows whether it has the letter.
            await client.data(letter.content)
        except SMTPResponseException as error:
            if error.code >= 500:
                raise DeliveryRefused(_said(error)) from error
            if error.code >= 400:
                raise DeliveryDelayed(_said(error)) from error
            raise DeliveryUnknown(_said(error)) from error
        except (SMTPException, OSError, ValueError) as error:
            raise DeliveryUnknown(_said(error)) from error


def refuse_unfit(letter: Letter) -> None:
    """Raise DeliveryRefused for addresses that would be read as commands."""
    for address in (letter.sender, letter.recipient):
        if not address.isascii() or not address or any(sign in address for sign in _UNFIT):
            raise DeliveryRefused("This is no address that a mail server understands.", breaks_channel=True)


async def _quit(client: SMTP) -> None:
    with suppress(SMTPException, OSError, ValueError):
        async with asyncio.timeout(2):
            await client.quit()
    client.close()


def _said(error: Exception) -> str:
    """Return what a server said, on one short line."""
    if isinstance(error, SMTPConnectError) or not isinstance(error, SMTPResponseException):
        text = f"{type(error).__name__}: {error}"
    else:
        text = f"{error.code} {error.message}"
    return " ".join(text.split())[:300]
