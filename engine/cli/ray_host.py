"""The process that keeps Ray and its workers for an engine."""

import time

from pydantic import SecretStr

from engine.bootstrap import Engine
from engine.cli.kept_process import KeptProcess
from engine.core.settings import Settings

STOP_SECONDS = 8.0


def ray_host(engine: Engine, *, tiny: bool) -> KeptProcess:
    """Return the process; finds or makes the cluster's token, and raises RayTokenUnsafe where it may not."""
    from ray_cluster.cluster import require_ray, token_file
    from ray_cluster.sealed import seal

    require_ray()
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
