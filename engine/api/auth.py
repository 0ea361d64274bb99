"""Registering, signing in, staying signed in, leaving."""

from fastapi import APIRouter, Request, Response

from engine.api.caller import Authenticated, Newcomer, address_of, engine_of
from engine.api.views import (
    ChangePassword,
    MeView,
    OrganizationRef,
    Refresh,
    Register,
    SignedInView,
    SignIn,
    UserView,
)
from engine.domains import organizations, sessions, users

router = APIRouter(prefix="/auth", tags=["auth"])


@router.post("/register", status_code=201)
async def register(new: Register, request: Request) -> SignedInView:
    """Make an organization and its first admin, and sign them in."""
    engine = engine_of(request)
    await engine.registration.check()
    password = new.password.get_secret_value()
    users.check_fitness(password, username=new.username, email=new.email)
    password_hash = await engine.entrance.passwords.hash(password)
    async with engine.registration.admit() as tx:
        _, admin = await organizations.register(
            tx,
            name=new.organization,
            username=new.username,
            email=new.email,
            display_name=new.display_name,
            password_hash=password_hash,
        )
        signed_in = await sessions.open_session(tx, engine.entrance, user_id=admin.id)
    assert signed_in is not None, "a new admin may sign in"
    return SignedInView.of(signed_in)


@router.post("/login")
async def login(attempt: SignIn, request: Request) -> SignedInView:
    """Sign in with a username or an e-mail address."""
    signed_in = await sessions.sign_in(
        engine_of(request).entrance,
        login=attempt.login,
        password=attempt.password.get_secret_value(),
        organization=attempt.organization,
        address=address_of(request),
    )
    return SignedInView.of(signed_in)


@router.post("/refresh")
async def refresh(body: Refresh, request: Request) -> SignedInView:
    """Exchange a refresh token for new tokens; each works once."""
    return SignedInView.of(
        await sessions.refresh(engine_of(request).entrance, refresh_token=body.refresh_token)
    )


@router.post("/logout", status_code=204)
async def logout(caller: Newcomer) -> Response:
    """End this session."""
    async with caller.transaction() as tx:
        await sessions.sign_out(tx, caller.actor, session_id=caller.session_id)
    return Response(status_code=204)


@router.post("/password")
async def change_password(change: ChangePassword, caller: Newcomer) -> SignedInView:
    """Change one's password; one's other sessions end, and this one goes on with new tokens."""
    signed_in = await sessions.change_password(
        caller.engine.entrance,
        caller.actor,
        session_id=caller.session_id,
        current=change.current_password.get_secret_value(),
        new=change.new_password.get_secret_value(),
        address=caller.address,
    )
    return SignedInView.of(signed_in)


@router.get("/me")
async def me(caller: Authenticated) -> MeView:
    """Tell who is signed in."""
    async with caller.transaction() as tx:
        user = await users.get_user(tx, user_id=caller.actor.user_id)
        organization = await organizations.current(tx)
    return MeView(
        user=UserView.model_validate(user), organization=OrganizationRef.model_validate(organization)
    )
