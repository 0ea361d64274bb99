"""Who may make a new organization without being asked in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from uuid import uuid4

from engine.core.database import Database, Transaction
from engine.domains.organizations import repository
from engine.domains.organizations.errors import RegistrationClosed

RegistrationMode = Literal["first", "open", "closed"]


class Registration:
    """The way in for new organizations: nobody, everybody, or the first one and nobody after it."""

    def __init__(self, database: Database, mode: RegistrationMode) -> None:
        self._database = database
        self._mode = mode
        self._turn = asyncio.Lock()

    @property
    def is_for_first(self) -> bool:
        """Whether only the first organization may be made: while it may, there is none."""
        return self._mode == "first"

    async def check(self) -> None:
        """Raise RegistrationClosed where `admit` would, before anything costly is done."""
        if self._mode == "open":
            return
        if self._mode == "closed":
            raise RegistrationClosed
        async with self._database.across_organizations(reason="registration") as across:
            if await repository.is_any_organization(across):
                raise RegistrationClosed

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[Transaction]:
        """Open a transaction of a new organization for `register`, or raise RegistrationClosed."""
        if self._mode == "open":
            async with self._database.as_organization(uuid4()) as tx:
                yield tx
            return
        # Two connections are held here; the lock of this process keeps it to one registration, so
        # that many of them cannot wait for each other's second connection.
        async with self._turn, self._database.across_organizations(reason="registration") as across:
            await repository.take_registration_turn(across)
            if self._mode == "closed" or await repository.is_any_organization(across):
                raise RegistrationClosed
            async with self._database.as_organization(uuid4()) as tx:
                yield tx
