"""Passwords: which ones will do, and how they are kept and checked."""

import asyncio
import secrets
import unicodedata
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from engine.domains.users.errors import PasswordUnfit, TooManySignIns

SHORTEST_PASSWORD = 10
LONGEST = 128
_MOST_BYTES = 512
_AT_ONCE = 2  # Each takes a core and its memory for some 30 ms.
_MOST_WAITING = 100  # The last of them waits 2 s.
_READABLE = "abcdefghjkmnpqrstuvwxyz23456789"  # Nothing here looks like another.

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class NewPassword:
    """A password made for somebody: what to tell them once, and what to keep."""

    plain: str
    password_hash: str


def temporary_password() -> str:
    """Return a random password of 99 bits that can be read out over the telephone."""
    return "-".join("".join(secrets.choice(_READABLE) for _ in range(4)) for _ in range(5))


def check_fitness(password: str, *, username: str, email: str, current: str | None = None) -> None:
    """Raise PasswordUnfit for a password that is too short, too long or easily guessed for this person."""
    if password == current:
        raise PasswordUnfit("The new password is the old one.")
    if len(password) < SHORTEST_PASSWORD:
        raise PasswordUnfit(f"A password has at least {SHORTEST_PASSWORD} characters.")
    if len(password) > LONGEST or len(_bytes(password)) > _MOST_BYTES:
        raise PasswordUnfit(f"A password has at most {LONGEST} characters.")
    if password.casefold() in {username.casefold(), email.casefold(), email.partition("@")[0].casefold()}:
        raise PasswordUnfit("A password must not be the username or the e-mail address.")
    if len(set(password)) < 4:
        raise PasswordUnfit("A password needs at least four different characters.")


class Passwords:
    """Hashes and checks passwords with argon2id, beside the event loop and a few at a time."""

    def __init__(self, *, memory_kib: int = 19_456, passes: int = 2) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="passwords")
        self._waiting = 0
        # It costs as much as a real one, and nobody knows a password that fits.
        salt, digest = (b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (16, 32))
        self._nobodys = f"$argon2id$v=19$m={memory_kib},t={passes},p=1${salt}${digest}"

    async def hash(self, password: str) -> str:
        """Return what may be stored of a password."""
        return await self._in_thread(lambda: self._hasher.hash(_bytes(password)))

    async def fits(self, password_hash: str, password: str) -> bool:
        """Tell whether this is the password."""
        return await self._in_thread(lambda: self._verify(password_hash, password))

    async def fits_nobody(self, password: str) -> bool:
        """Return False after as long as `fits` takes."""
        return await self.fits(self._nobodys, password)

    def is_outdated(self, password_hash: str) -> bool:
        """Tell whether a hash was made with other costs than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, _bytes(password))
        except VerifyMismatchError:
            return False

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        if self._waiting >= _MOST_WAITING:
            raise TooManySignIns
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def _bytes(password: str) -> bytes:
    # Keyboards send the same letter composed or not.
    return unicodedata.normalize("NFC", password).encode()
