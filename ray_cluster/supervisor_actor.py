"""The named actor that hosts the supervisor of a cluster, and how an engine sees to it that there is one."""

import asyncio
from pathlib import Path
from time import monotonic
from typing import Any

from engine.bootstrap import open_rooms
from engine.core.database import Database
from engine.core.logging import log, set_up_logging
from engine.domains import runs
from engine.domains.runs import Load
from ray_cluster.cluster import token_here
from ray_cluster.fleet import RayFleet
from ray_cluster.loop_thread import LoopThread
from ray_cluster.reach import database_place
from ray_cluster.release import Release
from ray_cluster.sealed import unseal
from ray_cluster.supervisor import Supervisor

NAME = "supervisor"
TICK_SECONDS = 1.0
CALL_SECONDS = 4.0
DEAF_SECONDS = 20.0  # A supervisor that answers nobody for so long is made anew.
# Without any engine there is nobody to work for, and nobody who could ask the actors to leave.
NO_ENGINE_SECONDS = 60.0
CONNECTIONS = 2


class SupervisorActor:
    """The supervisor in one process; it works from the moment it is made."""

    def __init__(self, sealed: bytes, token_path: str, release: Release) -> None:
        settings = unseal(sealed, token_here(token_path))
        self._settings = settings.model_copy(update={"database_pool_size": CONNECTIONS})
        self._release = release
        self._fleet = RayFleet(sealed, token_path, release.name)
        self._supervisor: Supervisor | None = None
        self._heard_at = monotonic()
        set_up_logging(settings.log_level)
        self._thread = LoopThread("supervisor", self._work)

    def keep(self) -> tuple[Release, dict[str, Any]]:
        """Hear that an engine lives; return whose supervisor this is, and how the pools are."""
        self._heard_at = monotonic()
        return self._release, self._supervisor.state() if self._supervisor else {}

    def database_place(self) -> tuple[str, int]:
        """Return where the database listens, for machines that join to try."""
        return database_place(self._settings)

    def leave_machine(self, machine: str) -> int | None:
        """Have a machine's workers go elsewhere; return how many are there, or None when that is unknown."""
        return self._supervisor.leave_machine(machine) if self._supervisor else None

    def stop(self) -> bool:
        """End, and leave the workers as they are: somebody else will keep them."""
        return self._thread.stop(CALL_SECONDS)

    async def _work(self, stop: asyncio.Event) -> None:
        async with open_rooms(self._settings) as (database, roles, _):
            self._supervisor = Supervisor(
                self._fleet,
                self._settings,
                release=self._release.name,
                pools=lambda: dict(roles.pools()),
                load=lambda: _load(database),
                take_from=lambda workers: _take_from(database, workers),
                now=monotonic,
            )
            while not stop.is_set():
                try:
                    if monotonic() - self._heard_at < NO_ENGINE_SECONDS:
                        await self._supervisor.tick()
                    elif await self._supervisor.end():
                        log.info("no_engine_left")
                        _end_this_actor()
                except Exception:  # noqa: BLE001 - such as a head that restarts; the next round sees more
                    log.exception("supervisor_round_failed")
                try:
                    async with asyncio.timeout(TICK_SECONDS):
                        await stop.wait()
                except TimeoutError:
                    continue


class Keeper:
    """Sees to it that a cluster has a supervisor of one's own release, or of an engine that began later."""

    def __init__(self, sealed: bytes, token: Path, release: Release) -> None:
        import ray

        self._ray: Any = ray
        self._given = (sealed, str(token), release)
        self._release = release
        self._heard_at = monotonic()

    def keep(self) -> dict[str, Any] | None:
        """Tell the supervisor that an engine lives; return how the pools are, or None when nobody answers."""
        actor = (
            self._ray.remote(SupervisorActor)
            .options(
                name=NAME,
                lifetime="detached",
                get_if_exists=True,
                num_cpus=0,
                max_restarts=-1,
                max_concurrency=8,
            )
            .remote(*self._given)
        )
        try:
            theirs, state = self._ray.get(actor.keep.remote(), timeout=CALL_SECONDS)
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.GetTimeoutError):
            if monotonic() - self._heard_at > DEAF_SECONDS:
                log.warning("supervisor_deaf")
                self._end(actor)
            return None
        self._heard_at = monotonic()
        if theirs.name != self._release.name and theirs < self._release:
            log.info("release_replaced", old=theirs.name, new=self._release.name)
            self._ray.wait([actor.stop.remote()], timeout=CALL_SECONDS)
            self._end(actor)
            return None
        return dict(state)

    def end(self) -> None:
        """End the supervisor, so that nobody replaces the workers that are about to be stopped."""
        try:
            self._end(self._ray.get_actor(NAME))
        except ValueError:
            return

    def _end(self, actor: Any) -> None:
        self._ray.kill(actor, no_restart=True)
        self._heard_at = monotonic()


def _end_this_actor() -> None:
    import ray

    ray.kill(ray.get_actor(NAME), no_restart=True)


async def _load(database: Database) -> dict[str, Load]:
    async with database.across_organizations(reason="see what waits") as tx:
        return await runs.load(tx)


async def _take_from(database: Database, workers: list[str]) -> int:
    async with database.across_organizations(reason="take runs from dead workers") as tx:
        return await runs.take_from(tx, workers)
