"""Mail servers for tests: a real one, and several that misbehave."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Post:
    """What a real server has taken."""

    envelopes: list[Envelope] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)  # said one after another instead of taking a letter
    logins: list[tuple[str, str]] = field(default_factory=list)
    is_encrypted: list[bool] = field(default_factory=list)

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.is_encrypted.append(session.ssl is not None)
        if self.refusals:
            return self.refusals.pop(0)
        self.envelopes.append(envelope)
        return "250 2.0.0 taken"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address.startswith("nobody@"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("later@"):
            return "451 4.7.1 greylisted"
        if address.startswith("elsewhere@"):
            return "554 5.7.1 relaying denied"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    def letters(self) -> list[EmailMessage]:
        """Parse what was taken."""
        return [
            message_from_bytes(cast(bytes, envelope.content), policy=default) for envelope in self.envelopes
        ]

    def authenticate(
        self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"p@ss/word", handled=False)


@asynccontextmanager
async def real_server(
    post: Post, *, tls: str = "none", certificate: Path | None = None, wants_login: bool = False
) -> AsyncIterator[int]:
    """Run a real SMTP server on a free port of the loopback."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    options: dict[str, Any] = {}
    if tls == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    if wants_login:
        options |= {
            "authenticator": post.authenticate,
            "auth_required": True,
            "auth_require_tls": tls == "starttls",  # what is wrapped in TLS it does not know of
        }
    controller = Controller(
        post, hostname="127.0.0.1", port=0, ssl_context=context if tls == "implicit" else None, **options
    )

    def talk() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # That logins without TLS are unwise.
            return controller.factory()  # type: ignore[no-untyped-call]

    server = await asyncio.get_running_loop().create_server(
        talk, "127.0.0.1", 0, ssl=context if tls == "implicit" else None
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        controller.loop.close()


@asynccontextmanager
async def misbehaving(talk: Talk) -> AsyncIterator[int]:
    """Run a server that talks as told."""
    talks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


async def talk_until(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: bytes, *, extensions: str = ""
) -> None:
    """Be an orderly server until a client says a command; what it is answered is up to the caller."""
    writer.write(b"220 mail.test ESMTP\r\n")
    while line := await reader.readline():
        if line.upper().startswith(command):
            return
        if line.upper().startswith(b"EHLO"):
            writer.write(f"250-mail.test\r\n{extensions}250 8BITMIME\r\n".encode())
        elif line.upper().startswith(b"DATA"):
            writer.write(b"354 go on\r\n")
            await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"250 taken\r\n")
        else:
            writer.write(b"250 ok\r\n")
    raise ConnectionResetError("the client hung up")


def make_certificate(folder: Path) -> Path:
    """Make a certificate of 127.0.0.1 that signs itself; the file holds its key too."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "mail.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    return file
