"""`rugpt worker`: this machine joins a cluster and has runs worked."""

import asyncio
import signal

from engine.cli.kept_process import KeptProcess
from engine.core.errors import Invalid
from engine.core.logging import log
from engine.core.settings import Settings

BEYOND_DRAIN_SECONDS = 30.0


async def work_until_stopped(settings: Settings, *, cpus: int | None, gpus: int | None) -> None:
    """Be a machine of the cluster until SIGTERM or SIGINT; its workers end their runs or hand them back."""
    from ray_cluster.cluster import require_ray, token_file

    if settings.ray_address is None:
        raise Invalid("Say which cluster to join: --address HOST:PORT, or RUGPT_RAY_ADDRESS.")
    require_ray()
    token = token_file(settings)
    machine = KeptProcess(
        "ray_cluster.machine",
        str(token),
        settings.ray_address,
        str(settings.drain_seconds),
        "" if cpus is None else str(cpus),
        "" if gpus is None else str(gpus),
        settings.log_level,
        stop_seconds=settings.drain_seconds + BEYOND_DRAIN_SECONDS,
    )
    log.info("joining", address=settings.ray_address, token=str(token))
    leaving = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leaving.set)
    keeping = asyncio.create_task(machine.run())
    await leaving.wait()
    log.info("leaving", within_seconds=settings.drain_seconds)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
