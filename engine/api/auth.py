"""Registering, signing in, staying signed in, leaving."""

from fastapi import APIRouter, Request, Response

from engine.api.browser import answer, cookie_of, forget_cookie, is_browser
from engine.api.caller import Authenticated, MaybeNewcomer, Newcomer, address_of, engine_of
from engine.api.views import (
    ChangePassword,
    MeView,
    OrganizationRef,
    Refresh,
    Register,
    SignedInView,
    SignIn,
    UserView,
    View,
)
from engine.domains import organizations, sessions, users

router = APIRouter(prefix="/auth", tags=["auth"])


class RefreshTokenMissing(sessions.NotAuthenticated):
    code = "refresh_token_missing"

    def __init__(self) -> None:
        super().__init__(
            "There is no refresh token: in the body, or in the cookie of the web client. Sign in."
        )


class SignInPolicy(View):
    """What somebody may do who is not signed in."""

    registration: bool  # whether a new organization can be made here
    is_new: bool  # nobody has an account yet: whoever comes is to register
    password_min_length: int


@router.get("/policy")
async def policy(request: Request) -> SignInPolicy:
    """Tell what a sign-in page may offer."""
    registration = engine_of(request).registration
    is_open = True
    try:
        await registration.check()
    except organizations.RegistrationClosed:
        is_open = False
    return SignInPolicy(
        registration=is_open,
        is_new=is_open and registration.is_for_first,
        password_min_length=users.SHORTEST_PASSWORD,
    )


@router.post("/register", status_code=201)
async def register(new: Register, request: Request, response: Response) -> SignedInView:
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
            locale=new.locale,
            timezone=new.timezone,
        )
        signed_in = await sessions.open_session(tx, engine.entrance, user_id=admin.id)
    assert signed_in is not None, "a new admin may sign in"
    return answer(request, response, signed_in)


@router.post("/login")
async def login(attempt: SignIn, request: Request, response: Response) -> SignedInView:
    """Sign in with a username or an e-mail address.

    With `X-RuGPT-Client: web` the refresh token is put in a cookie and left out of the answer; so do
    the other routes that give one.
    """
    signed_in = await sessions.sign_in(
        engine_of(request).entrance,
        login=attempt.login,
        password=attempt.password.get_secret_value(),
        organization=attempt.organization,
        address=address_of(request),
    )
    return answer(request, response, signed_in)


@router.post("/refresh")
async def refresh(request: Request, response: Response, body: Refresh | None = None) -> SignedInView:
    """Exchange a refresh token for new tokens; each works once. A browser's is read from its cookie.

    A browser gets the same new token again for half a minute: several tabs may ask at once.
    """
    by_cookie = is_browser(request)
    token = body.refresh_token if body is not None else None
    if token is None and by_cookie:
        token = cookie_of(request)
    if token is None:
        raise RefreshTokenMissing
    signed_in = await sessions.refresh(engine_of(request).entrance, refresh_token=token, is_browser=by_cookie)
    return answer(request, response, signed_in)


@router.post("/logout", status_code=204)
async def logout(request: Request, caller: MaybeNewcomer) -> Response:
    """End this session: the access token's and, of a browser, its cookie's, which needs no access token."""
    gone = Response(status_code=204)
    if is_browser(request):
        if (token := cookie_of(request)) is not None:
            await sessions.leave(engine_of(request).entrance, refresh_token=token)
        forget_cookie(request, gone)
    if caller is not None:
        async with caller.transaction() as tx:
            await sessions.sign_out(tx, caller.actor, session_id=caller.session_id)
    return gone


@router.post("/password")
async def change_password(
    change: ChangePassword, caller: Newcomer, request: Request, response: Response
) -> SignedInView:
    """Change one's password; one's other sessions end, and this one goes on with new tokens."""
    signed_in = await sessions.change_password(
        caller.engine.entrance,
        caller.actor,
        session_id=caller.session_id,
        current=change.current_password.get_secret_value(),
        new=change.new_password.get_secret_value(),
        address=caller.address,
    )
    return answer(request, response, signed_in)


@router.get("/me")
async def me(caller: Authenticated) -> MeView:
    """Tell who is signed in."""
    async with caller.transaction() as tx:
        user = await users.get_user(tx, user_id=caller.actor.user_id)
        organization = await organizations.current(tx)
    return MeView(
        user=UserView.model_validate(user), organization=OrganizationRef.model_validate(organization)
    )
