"""The ways by which people are told: a mail server and a bot, where they are set up."""

from engine.cli.doctor.findings import Finding, missing, note, ok
from engine.core.errors import Refusal
from engine.core.secret import Seal
from engine.core.settings import Settings
from engine.domains.notifications import Office


async def look_at_post(settings: Settings) -> list[Finding]:
    """Sign in at the mail server and ask the bot for its name; nothing is sent."""
    return [await _look_at_mail(settings), await _look_at_telegram(settings), _look_at_links(settings)]


async def _look_at_mail(settings: Settings) -> Finding:
    if settings.smtp_url is None:
        return note("mail", "not set up: nobody is told by e-mail (RUGPT_SMTP_URL)")
    from engine.adapters.mail import writer_and_mailbox

    try:
        _, mailbox = writer_and_mailbox(settings, Office(Seal(b"")))  # Nothing is written.
        await mailbox.check()
    except Refusal as refusal:
        return missing("mail", refusal.message)
    return ok("mail", "the server takes our connection" + (" and login" if mailbox.has_login else ""))


async def _look_at_telegram(settings: Settings) -> Finding:
    if settings.telegram_token is None:
        return note("telegram", "not set up: nobody is told by Telegram (RUGPT_TELEGRAM_TOKEN)")
    from engine.adapters.telegram import TelegramBot

    bot = None
    try:
        bot = TelegramBot(settings.telegram_token.get_secret_value(), api_url=settings.telegram_api_url)
        name = await bot.name()
    except Refusal as refusal:
        return missing("telegram", refusal.message)
    finally:
        if bot is not None:
            await bot.close()
    if settings.telegram_updates == "webhook" and not (settings.public_url or "").startswith("https://"):
        return missing("telegram", "Telegram calls https addresses only: set RUGPT_PUBLIC_URL to one")
    return ok("telegram", f"@{name} answers")


def _look_at_links(settings: Settings) -> Finding:
    if settings.public_url is None:
        return note("links", "notifications have none: RUGPT_PUBLIC_URL says where people open the client")
    return ok("links", f"they lead to {settings.public_url}")
