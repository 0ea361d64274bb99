"""Carries notes as letters."""

from engine.adapters.mail.letters import Letter, LetterWriter
from engine.adapters.mail.smtp import Mailbox, SmtpMailbox, read_smtp_url
from engine.core.settings import Settings
from engine.domains.notifications import ChannelKind, Note, Office


def writer_and_mailbox(settings: Settings, office: Office) -> tuple[LetterWriter, SmtpMailbox]:
    """Return what the settings say of mail, or raise SmtpUrlInvalid or MailFromInvalid."""
    assert settings.smtp_url is not None, "mail is not set up"
    server = read_smtp_url(settings.smtp_url.get_secret_value())
    mail_from = settings.mail_from or f"RuGPT <rugpt@{server.host}>"
    return LetterWriter(office, mail_from=mail_from), SmtpMailbox(server)


class MailCourier:
    """The courier of e-mail, whatever mailbox is behind it."""

    kind: ChannelKind = "email"

    def __init__(self, writer: LetterWriter, mailbox: Mailbox) -> None:
        self._writer = writer
        self._mailbox = mailbox

    def write(self, note: Note) -> list[Letter]:
        """Write one letter."""
        return [self._writer.write(note)]

    async def send(self, part: Letter) -> str:
        """Hand a letter over; return its Message-ID."""
        await self._mailbox.deliver(part)
        return part.message_id

    async def close(self) -> None:
        """Hang up."""
        await self._mailbox.close()
