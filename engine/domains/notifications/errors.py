"""Why this room says no, and how couriers say that a delivery did not arrive."""

from uuid import UUID

from engine.core.errors import Conflict, Invalid, NotFound, Unavailable


class ChannelNotFound(NotFound):
    code = "channel_not_found"

    def __init__(self, channel_id: UUID) -> None:
        super().__init__("There is no such channel of yours.", channel_id=channel_id)


class ChannelExists(Conflict):
    code = "channel_exists"

    def __init__(self) -> None:
        super().__init__("You have this channel already.")


class ChannelFixed(Conflict):
    code = "channel_fixed"

    def __init__(self) -> None:
        super().__init__(
            "Notifications in the client cannot be removed. Choose what the others carry instead."
        )


class ChannelUnavailable(Conflict):
    """This installation has no mail server, or no bot, to reach such a channel."""

    code = "channel_unavailable"


class ChannelUnverified(Conflict):
    code = "channel_unverified"

    def __init__(self) -> None:
        super().__init__("Verify this channel first.")


class ChannelVerified(Conflict):
    code = "channel_verified"

    def __init__(self) -> None:
        super().__init__("This channel is verified already.")


class TooManyChannels(Conflict):
    code = "too_many_channels"

    def __init__(self, limit: int) -> None:
        super().__init__(f"One person has {limit} channels at most.", limit=limit)


class AddressInvalid(Invalid):
    code = "channel_address_invalid"


class QuietHoursInvalid(Invalid):
    code = "quiet_hours_invalid"

    def __init__(self) -> None:
        super().__init__("Quiet hours need both a beginning and an end.")


class CodeSentRecently(Conflict):
    code = "verification_code_sent"

    def __init__(self, seconds: int) -> None:
        super().__init__(
            "A code was sent just now. Wait a moment before you ask for another.", wait_seconds=seconds
        )


class CodeWrong(Invalid):
    code = "verification_code_wrong"

    def __init__(self) -> None:
        super().__init__("This code is wrong, used or too old. Ask for a new one.")


class TelegramChatTaken(Conflict):
    code = "telegram_chat_taken"

    def __init__(self) -> None:
        super().__init__("This Telegram chat belongs to another account. Unbind it there first.")


class DeadLetterNotFound(NotFound):
    code = "dead_letter_not_found"

    def __init__(self, delivery_id: UUID) -> None:
        super().__init__("There is no such dead letter.", delivery_id=delivery_id)


class UnsubscribeInvalid(NotFound):
    code = "unsubscribe_invalid"

    def __init__(self) -> None:
        super().__init__("This link is not one of ours.")


class DeliveryUnderway(Unavailable):
    """Somebody answers a message that is not yet known to have arrived: look again in a moment."""

    code = "delivery_underway"

    def __init__(self, delivery_id: UUID) -> None:
        super().__init__("This message is still on its way.", delivery_id=delivery_id)


class DeliveryDelayed(Unavailable):
    """It did not arrive, and a later attempt may succeed; `retry_after_seconds` is the provider's wish."""

    code = "delivery_delayed"

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DeliveryRefused(Invalid):
    """It did not arrive and never will; `breaks_channel`: nor will anything else that goes there."""

    code = "delivery_refused"

    def __init__(self, message: str, *, breaks_channel: bool = False) -> None:
        super().__init__(message)
        self.breaks_channel = breaks_channel


class DeliveryUnknown(Unavailable):
    """It was handed over and nobody said whether it was taken: it may have arrived."""

    code = "delivery_unknown"
