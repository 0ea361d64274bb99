"""Why a chat says no."""

from uuid import UUID

from engine.core.errors import Conflict, Forbidden, Invalid, NotFound


class ChatNotFound(NotFound):
    code = "chat_not_found"

    def __init__(self, chat_id: UUID) -> None:
        super().__init__("There is no such chat, or you are not in it.", chat_id=chat_id)


class MessageNotFound(NotFound):
    code = "message_not_found"

    def __init__(self, message_id: UUID) -> None:
        super().__init__("There is no such message, or you cannot see it.", message_id=message_id)


class MemberNotFound(NotFound):
    code = "member_not_found"


class NotTheAuthor(Forbidden):
    code = "not_the_author"


class NotTheChatOwner(Forbidden):
    code = "not_the_chat_owner"


class UnknownRole(Invalid):
    code = "unknown_role"


class TooManyRoles(Invalid):
    code = "too_many_roles"


class TooManyMentions(Invalid):
    code = "too_many_mentions"


class TitleInvalid(Invalid):
    code = "title_invalid"

    def __init__(self) -> None:
        super().__init__("A chat's title is one line of 1 to 200 characters.")


class DirectChatIsForTwo(Invalid):
    code = "direct_chat_is_for_two"


class PostedMeanwhile(Conflict):
    """The same message was posted at the same moment; to post it once more finds it."""

    code = "posted_meanwhile"

    def __init__(self) -> None:
        super().__init__("The same message is being posted twice at once. Try again.")
