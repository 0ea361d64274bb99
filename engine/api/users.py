"""The people of one's organization."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from engine.api.caller import Authenticated
from engine.api.views import ChangeUser, CreatedUserView, CreateUser, Page, UserView
from engine.domains import users

router = APIRouter(prefix="/users", tags=["users"])


@router.get("")
async def list_users(
    caller: Authenticated,
    cursor: Annotated[str | None, Query(max_length=1024)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> Page[UserView]:
    """List people by username, the deactivated too."""
    async with caller.transaction() as tx:
        page, next_cursor = await users.list_users(tx, cursor=cursor, limit=limit)
    return Page(items=[UserView.model_validate(user) for user in page], next_cursor=next_cursor)


@router.post("", status_code=201)
async def create_user(new: CreateUser, caller: Authenticated) -> CreatedUserView:
    """Add a person; tell them the temporary password, which is shown only here."""
    password = await users.new_temporary_password(caller.engine.entrance.passwords, caller.actor)
    async with caller.transaction() as tx:
        user = await users.create_user(tx, caller.actor, password=password, **new.model_dump())
    return CreatedUserView(user=UserView.model_validate(user), temporary_password=password.plain)


@router.get("/{user_id}")
async def get_user(user_id: UUID, caller: Authenticated) -> UserView:
    """Show one person."""
    async with caller.transaction() as tx:
        user = await users.get_user(tx, user_id=user_id)
    return UserView.model_validate(user)


@router.patch("/{user_id}")
async def change_user(user_id: UUID, change: ChangeUser, caller: Authenticated) -> UserView:
    """Change a person: name, locale and time zone are one's own, the rest is for admins."""
    changes = users.UserChanges(**change.model_dump())
    async with caller.transaction() as tx:
        user = await users.update_user(tx, caller.actor, user_id=user_id, changes=changes)
    return UserView.model_validate(user)


@router.post("/{user_id}/password")
async def reset_password(user_id: UUID, caller: Authenticated) -> CreatedUserView:
    """Give a person a temporary password, which is shown only here; their sessions end. For admins."""
    password = await users.new_temporary_password(caller.engine.entrance.passwords, caller.actor)
    async with caller.transaction() as tx:
        user = await users.reset_password(tx, caller.actor, user_id=user_id, password=password)
    return CreatedUserView(user=UserView.model_validate(user), temporary_password=password.plain)
