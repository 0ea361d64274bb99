"""The process that keeps Ray and its workers for an engine."""

import time

from pydantic import SecretStr

from engine.bootstrap import Engine
from engine.cli.kept_process import KeptProcess
from engine.core.errors import Invalid, Unavailable
from engine.core.logging import log
from engine.core.settings import Settings

STOP_SECONDS = 8.0


class DatabaseOfOneMachine(Invalid):
    """Other machines would work runs of a database that they cannot reach."""

    code = "database_of_one_machine"

    def __init__(self) -> None:
        super().__init__(
            "Machines that join cannot reach the embedded database. Set RUGPT_DATABASE_URL to a PostgreSQL"
            " that all of them reach, or leave RUGPT_RAY_ADDRESS and RUGPT_RAY_PORT unset."
        )


def with_runtime(settings: Settings) -> Settings:
    """Return the settings with a runtime that this machine can have; raises what `why_without_ray` raises."""
    if settings.runtime == "ray" and (why := why_without_ray(settings)) is not None:
        log.warning("without_ray", code=why.code, reason=why.message)
        return settings.model_copy(update={"runtime": "inline"})
    return settings


def why_without_ray(settings: Settings) -> Unavailable | None:
    """Return why runs have to be worked by this process, though nobody has said so; None where Ray can.

    Where Ray was asked for, by its name, an address or a port, that is raised. So are DatabaseOfOneMachine
    for a cluster of several machines over the embedded database, and RayClusterOpen for one without a token.
    """
    from ray_cluster.closed import require_closed
    from ray_cluster.cluster import require_ray
    from ray_cluster.room import require_room

    is_of_several = settings.ray_address is not None or bool(settings.ray_port)
    if is_of_several and settings.database_url is None:
        raise DatabaseOfOneMachine
    try:
        require_ray()
        if settings.ray_address is None:
            require_room()
    except Unavailable as why:
        if is_of_several or "runtime" in settings.model_fields_set:
            raise
        return why
    if settings.ray_address is not None:
        require_closed(settings.ray_address)
    return None


def ray_host(engine: Engine, *, tiny: bool) -> KeptProcess:
    """Return the process; finds or makes the cluster's token, and raises RayTokenUnsafe where it may not."""
    from ray_cluster.cluster import token_file
    from ray_cluster.sealed import seal

    token = token_file(engine.settings)
    settings = _of_workers(engine, tiny=tiny)
    return KeptProcess(
        "ray_cluster.host",
        str(token),
        str(time.time()),  # Of engines with different code, the one that began later has the say.
        given=seal(settings, token.read_bytes().strip()),
        stop_seconds=STOP_SECONDS,
    )


def _of_workers(engine: Engine, *, tiny: bool) -> Settings:
    """Return the settings of workers: where the database is, and nothing that signs or migrates."""
    changes: dict[str, object] = {
        "database_url": SecretStr(engine.urls.application),
        "database_owner_url": None,
        "secret_key": None,
        "data_dir": engine.settings.data_dir.absolute(),
    }
    if tiny:
        from engine.adapters.models.embedded import TINY

        changes["model"] = f"embedded:{TINY}"
    return engine.settings.model_copy(update=changes)
