"""E-mail: letters from templates, and the server that takes them."""

from engine.adapters.mail.courier import MailCourier, writer_and_mailbox
from engine.adapters.mail.letters import Letter, LetterWriter, MailFromInvalid
from engine.adapters.mail.memory import MailboxInMemory
from engine.adapters.mail.smtp import Mailbox, SmtpMailbox, SmtpUrlInvalid, read_smtp_url

__all__ = [
    "Letter",
    "LetterWriter",
    "MailCourier",
    "MailFromInvalid",
    "Mailbox",
    "MailboxInMemory",
    "SmtpMailbox",
    "SmtpUrlInvalid",
    "read_smtp_url",
    "writer_and_mailbox",
]
