"""Chats and messages."""

from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from pydantic import AfterValidator, Field
from sse_starlette import EventSourceResponse

from engine.api.caller import Authenticated, Caller
from engine.api.events import ENDS, Event, unnumbered
from engine.api.live import Subscription
from engine.api.messages import MentionView, MessageView, as_json, message_view
from engine.api.streams import STREAM, leaving_on_failure, respond, words_so_far
from engine.api.views import Body, Page, View
from engine.core.cursor import decode_cursor, encode_cursor
from engine.core.database import Transaction
from engine.core.errors import Invalid
from engine.domains import approvals, chats, runs, users
from engine.domains.chats import Chat, ChatKind, Message

router = APIRouter(tags=["chats"])
MOST_CHARACTERS = 32_000


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


Title = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_not_blank)]
Content = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS), AfterValidator(_not_blank)]
RoleCodes = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=100)]
UserIds = Annotated[list[UUID], Field(max_length=500)]
MessageNo = Annotated[int, Query(ge=0, lt=2**62)]


class TwoPlaces(Invalid):
    code = "two_places"


class LastLineView(View):
    """How a chat's last message begins."""

    author_id: UUID | None
    role: str | None
    text: str
    is_deleted: bool
    is_withdrawn: bool


class ChatView(View):
    id: UUID
    title: str
    kind: ChatKind
    roles: list[str]
    members: list[UUID]
    created_by: UUID
    created_at: datetime
    last_message_no: int
    last_message_at: datetime
    last_message: LastLineView | None
    unread: int
    read_up_to_no: int  # mine: what follows is new to me

    @classmethod
    def of(cls, chat: Chat) -> Self:
        """Show a chat as its member sees it."""
        last = chat.last_message
        line = None
        if last is not None:
            line = LastLineView(
                author_id=last.author_id,
                role=last.role_code,
                text=last.text,
                is_deleted=last.is_deleted,
                is_withdrawn=last.is_withdrawn,
            )
        members = {name: getattr(chat, name) for name in cls.model_fields if name != "last_message"}
        return cls(**members, last_message=line)


class OpenChat(Body):
    title: Title
    kind: ChatKind = "group"
    members: UserIds = Field(default_factory=list)
    roles: RoleCodes = Field(default_factory=list)


class ChangeChat(Body):
    title: Title | None = None
    roles: RoleCodes | None = None


class AddMembers(Body):
    members: UserIds


class PostMessage(Body):
    content: Content
    client_message_id: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    reply_to: UUID | None = None


class EditMessage(Body):
    content: Content


class MarkRead(Body):
    up_to_no: Annotated[int, Field(ge=0, lt=2**62)] | None = None


class StartedRun(View):
    id: UUID
    role: str
    status: str
    answer_id: UUID


class PostedView(View):
    """`ignored` are the @@names that call nobody here: unknown, switched off, or not let into this chat."""

    message: MessageView
    mentions: list[MentionView]
    runs: list[StartedRun]
    ignored: list[str]


@router.post("/chats", status_code=201)
async def open_chat(new: OpenChat, caller: Authenticated) -> ChatView:
    """Open a chat; whoever opens it is in it."""
    async with caller.transaction() as tx:
        chat = await chats.create_chat(
            tx,
            caller.actor,
            title=new.title,
            kind=new.kind,
            members=new.members,
            roles=new.roles,
            known_roles=caller.engine.roles,
        )
    return ChatView.of(chat)


@router.get("/chats")
async def list_chats(
    caller: Authenticated,
    cursor: Annotated[str | None, Query(max_length=1024)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> Page[ChatView]:
    """List my chats, the most recently used first, with what is unread."""
    before = None
    if cursor is not None:
        place = decode_cursor(cursor, at=datetime, id=UUID)
        before = (place["at"], place["id"])
    async with caller.transaction() as tx:
        page = await chats.list_chats(tx, caller.actor, before=before, limit=limit + 1)
    return Page(items=[ChatView.of(chat) for chat in page[:limit]], next_cursor=_next_chat(page, limit))


@router.get("/chats/{chat_id}")
async def get_chat(chat_id: UUID, caller: Authenticated) -> ChatView:
    """Show a chat that I am in."""
    async with caller.transaction() as tx:
        chat = await chats.get_chat(tx, caller.actor, chat_id=chat_id)
    return ChatView.of(chat)


@router.patch("/chats/{chat_id}")
async def change_chat(chat_id: UUID, change: ChangeChat, caller: Authenticated) -> ChatView:
    """Rename a chat, or change which roles may be called in it."""
    async with caller.transaction() as tx:
        chat = await chats.change_chat(
            tx,
            caller.actor,
            chat_id=chat_id,
            title=change.title,
            roles=change.roles,
            known_roles=caller.engine.roles,
        )
    return ChatView.of(chat)


@router.delete("/chats/{chat_id}", status_code=204)
async def delete_chat(chat_id: UUID, caller: Authenticated) -> None:
    """Let a chat disappear for everybody in it."""
    async with caller.transaction() as tx:
        await chats.delete_chat(tx, caller.actor, chat_id=chat_id)


@router.post("/chats/{chat_id}/members")
async def add_members(chat_id: UUID, new: AddMembers, caller: Authenticated) -> ChatView:
    """Bring people into a chat."""
    async with caller.transaction() as tx:
        chat = await chats.add_members(tx, caller.actor, chat_id=chat_id, members=new.members)
    return ChatView.of(chat)


@router.delete("/chats/{chat_id}/members/{user_id}", responses={204: {"description": "I have left."}})
async def remove_member(
    chat_id: UUID, user_id: UUID, caller: Authenticated, response: Response
) -> ChatView | None:
    """Take somebody out of my chat, or leave one."""
    async with caller.transaction() as tx:
        chat = await chats.remove_member(tx, caller.actor, chat_id=chat_id, user_id=user_id)
    if chat is None:
        response.status_code = 204
        return None
    return ChatView.of(chat)


@router.post(
    "/chats/{chat_id}/messages",
    status_code=201,
    response_model=PostedView,
    responses={
        200: {"model": PostedView, "description": "This client_message_id was posted before; or a stream."},
        201: {"content": STREAM[200]["content"]},
    },
)
async def post_message(
    chat_id: UUID,
    new: PostMessage,
    caller: Authenticated,
    response: Response,
    accept: Annotated[str | None, Header()] = None,
) -> PostedView | EventSourceResponse:
    """Post a message; roles named with @@ are called once it is saved.

    With `Accept: text/event-stream` the answer is a stream: the message, then the events of the runs
    it started, and it ends with them.
    """
    if accept is None or "text/event-stream" not in accept:
        posted, is_new = await _post(caller, chat_id, new)
        response.status_code = 201 if is_new else 200
        return posted
    actor = caller.actor
    # On their own channel they learn that they were taken out of the chat, and the stream ends.
    channels = [chat_id, actor.user_id]
    subscription = Subscription(actor.org_id, actor.user_id, caller.session_id, channels)
    subscription.ends_by_itself = True
    await caller.hub.follow(subscription)  # Before the post, so that nothing of it is missed.
    with leaving_on_failure(caller, subscription):
        posted, is_new = await _post(caller, chat_id, new)
    return respond(caller, subscription, _answers(caller, subscription, posted, is_new=is_new))


@router.get("/chats/{chat_id}/messages")
async def history(
    chat_id: UUID,
    caller: Authenticated,
    before: Annotated[str | None, Query(max_length=1024)] = None,
    around_no: MessageNo | None = None,
    after_no: MessageNo | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[MessageView]:
    """Read a chat backwards, newest first; `before` is the last page's `next_cursor`.

    `around_no` begins in the middle, with a message's number; `after_no` gives the messages next after one,
    newest first as well.
    """
    if sum(given is not None for given in (before, around_no, after_no)) > 1:
        raise TwoPlaces("Give one of before, around_no and after_no.")
    before_no = None if before is None else decode_cursor(before, no=int)["no"]
    if around_no is not None:
        before_no = around_no + limit // 2 + 1
    async with caller.transaction() as tx:
        page = await chats.history(
            tx, caller.actor, chat_id=chat_id, before_no=before_no, after_no=after_no, limit=limit
        )
        views = await views_for(tx, caller, page)
    more = bool(page) and page[-1].no > 1
    return Page(items=views, next_cursor=encode_cursor({"no": page[-1].no}) if more else None)


@router.get("/messages/search")
async def search_messages(
    caller: Authenticated,
    q: Annotated[str, Query(min_length=1, max_length=200, pattern=r"\S")],
    chat_id: UUID | None = None,
    cursor: Annotated[str | None, Query(max_length=1024)] = None,
    limit: Annotated[int, Query(ge=1, le=50)] = 20,
) -> Page[MessageView]:
    """Look for words in one of my chats, or in all, newest first.

    It looks some thousands of messages back: a `next_cursor`, even after an empty page, leads further back.
    """
    before: tuple[datetime, UUID] | int | None = None
    if cursor is not None and chat_id is not None:
        before = decode_cursor(cursor, no=int)["no"]
    elif cursor is not None:
        place = decode_cursor(cursor, at=datetime, id=UUID)
        before = (place["at"], place["id"])
    async with caller.transaction() as tx:
        found = await chats.search(tx, caller.actor, query=q, chat_id=chat_id, before=before, limit=limit)
        views = await views_for(tx, caller, found.messages)
    edge = found.look_on_from
    if edge is None:
        return Page(items=views, next_cursor=None)
    place = {"no": edge} if isinstance(edge, int) else {"at": edge[0], "id": edge[1]}
    return Page(items=views, next_cursor=encode_cursor(place))


@router.get("/messages/{message_id}")
async def get_message(message_id: UUID, caller: Authenticated) -> MessageView:
    """Show a message of a chat that I am in, or a draft that I may sign."""
    async with caller.transaction() as tx:
        try:
            message = await chats.get_message(tx, caller.actor, message_id=message_id)
        except chats.MessageNotFound:
            return await _draft_to_sign(tx, caller, message_id)
        (view,) = await views_for(tx, caller, [message])
    return view


@router.patch("/messages/{message_id}")
async def edit_message(message_id: UUID, change: EditMessage, caller: Authenticated) -> MessageView:
    """Change what I said."""
    async with caller.transaction() as tx:
        message = await chats.edit_message(tx, caller.actor, message_id=message_id, content=change.content)
    return message_view(message, None)


@router.delete("/messages/{message_id}")
async def delete_message(message_id: UUID, caller: Authenticated) -> MessageView:
    """Take back what I said; its place in the chat remains."""
    async with caller.transaction() as tx:
        message = await chats.delete_message(tx, caller.actor, message_id=message_id)
    return message_view(message, None)


@router.post("/chats/{chat_id}/read")
async def mark_read(chat_id: UUID, mark: MarkRead, caller: Authenticated) -> ChatView:
    """Mark a chat as read, to its end or up to a message's number."""
    async with caller.transaction() as tx:
        chat = await chats.mark_read(tx, caller.actor, chat_id=chat_id, up_to_no=mark.up_to_no)
    return ChatView.of(chat)


async def views_for(tx: Transaction, caller: Caller, messages: list[Message]) -> list[MessageView]:
    """Show messages of a chat that the caller is in, with the state of those that roles wrote."""
    from_roles = [message.id for message in messages if message.role_code is not None]
    drafts = await approvals.drafts_of(tx, from_roles) if from_roles else {}
    unsigned = [each for each in messages if each.role_code is not None and each.id not in drafts]
    run_ids = await runs.runs_of_answers(tx, unsigned) if unsigned else {}
    username = None
    if any(message.withdrawn_at is not None for message in messages):
        username = (await users.by_ids(tx, [caller.actor.user_id]))[0].username
    views = []
    for message in messages:
        draft = drafts.get(message.id)
        signer = draft is not None and draft.may_be_signed_by(caller.actor, username=username, is_member=True)
        asker = draft is not None and draft.asker_id == caller.actor.user_id
        views.append(
            message_view(message, draft, may_read_withdrawn=signer or asker, run_id=run_ids.get(message.id))
        )
    return views


async def _draft_to_sign(tx: Transaction, caller: Caller, message_id: UUID) -> MessageView:
    """Show a draft to somebody who signs it without being in its chat."""
    try:
        draft, is_signer = await approvals.get_draft(tx, caller.actor, message_id=message_id)
    except approvals.DraftNotFound as unknown:
        raise chats.MessageNotFound(message_id) from unknown
    if not is_signer:
        raise chats.MessageNotFound(message_id)
    message = (await chats.messages_by_ids(tx, [message_id]))[message_id]
    return message_view(message, draft, may_read_withdrawn=True)


async def _post(caller: Caller, chat_id: UUID, new: PostMessage) -> tuple[PostedView, bool]:
    try:
        return await _post_once(caller, chat_id, new)
    except chats.PostedMeanwhile:
        return await _post_once(caller, chat_id, new)  # And find what was posted.


async def _post_once(caller: Caller, chat_id: UUID, new: PostMessage) -> tuple[PostedView, bool]:
    actor = caller.actor
    message = chats.NewMessage(actor, chat_id, new.content, new.client_message_id, new.reply_to)
    posted = await caller.posts.ask(actor.org_id, message)
    started = runs.among(posted)
    if not posted.is_new and any(mention.kind == "role" for mention in posted.mentions):
        async with caller.transaction() as tx:
            started = await runs.runs_of_message(tx, posted.message.id)
    view = PostedView(
        message=message_view(posted.message, None),
        mentions=[MentionView(kind=one.kind, code=one.code, id=one.id) for one in posted.mentions],
        runs=[
            StartedRun(id=run.id, role=run.role_code, status=run.status, answer_id=run.answer_id)
            for run in started
        ],
        ignored=posted.unknown_roles,
    )
    return view, posted.is_new


async def _answers(
    caller: Caller, subscription: Subscription, posted: PostedView, *, is_new: bool
) -> AsyncGenerator[bytes, None]:
    """Give the message and the events of its runs; end when they have ended."""
    own_messages = {posted.message.id, *(run.answer_id for run in posted.runs)}
    waiting = {run.id for run in posted.runs}
    seen: dict[UUID, int] = {}
    if not is_new:
        async for event in _how_things_stand(caller, posted):
            seen[_uuid(event.data.get("run_id", posted.message.id))] = event.seq
            if event.kind in ENDS:
                waiting.discard(event.data["run_id"])
            yield event.encoded
    is_posted = not is_new
    while (waiting or not is_posted) and (events := await subscription.next()):
        own = []
        for event in events:
            if not _is_of(event, own_messages, waiting, seen):
                continue
            own.append(event.encoded)
            is_posted = is_posted or event.kind == "message.created"
            if event.kind in ENDS:
                waiting.discard(_uuid(event.data["run_id"]))
        if own:
            yield b"".join(own)


async def _how_things_stand(caller: Caller, posted: PostedView) -> AsyncIterator[Event]:
    """Give what has become of a message that was posted before: its events of then have passed."""
    message_id = posted.message.id
    yield unnumbered("message.created", {"message_id": message_id, "message": as_json(posted.message)})
    working = {run.id for run in posted.runs if f"run.{run.status}" not in ENDS}
    for run in posted.runs:
        if run.id not in working:
            yield unnumbered(
                f"run.{run.status}", {"run_id": run.id, "role": run.role, "message_id": run.answer_id}
            )
    for snapshot in await words_so_far(caller, caller.hub, [posted.message.chat_id]):
        if snapshot.data["run_id"] in working:
            yield snapshot


def _is_of(event: Event, own_messages: set[UUID], waiting: set[UUID], seen: dict[UUID, int]) -> bool:
    """Whether an event of the chat belongs to a message and the runs that it started."""
    if event.kind == "reconnect":
        return True
    if event.kind == "message.created":
        return _uuid(event.data["message_id"]) in own_messages
    run_id = event.data.get("run_id")
    if run_id is None or _uuid(run_id) not in waiting or event.kind == "message.validated":
        return False
    return event.kind != "run.delta" or event.seq > seen.get(_uuid(run_id), -1)


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _next_chat(page: list[Chat], limit: int) -> str | None:
    if len(page) <= limit:
        return None
    last = page[limit - 1]
    return encode_cursor({"at": last.last_message_at, "id": last.id})
