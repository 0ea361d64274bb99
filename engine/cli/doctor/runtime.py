"""Where runs are worked, and whether that can be."""

from urllib.parse import urlsplit

from engine.adapters.models.loopback import is_loopback
from engine.cli.doctor.findings import Finding, missing, note, ok
from engine.cli.ray_host import why_without_ray
from engine.core.errors import Refusal
from engine.core.settings import Settings


def look_at_runtime(settings: Settings) -> list[Finding]:
    """Find out whether the engine would have its runs worked as it is set."""
    if settings.runtime == "inline":
        return [ok("runs", "worked by the engine's own process")]
    try:
        why = why_without_ray(settings)
    except Refusal as refusal:
        return [missing("runs", refusal.message)]
    if why is not None:
        return [note("runs", f"worked by the engine's own process: {why.message}")]
    if settings.ray_address is not None:
        return [ok("runs", f"worked by Ray, in the cluster at {settings.ray_address}")]
    if settings.ray_port and settings.database_url is not None:
        host = urlsplit(settings.database_url.get_secret_value()).hostname
        if host is None or is_loopback(host):
            return [note("runs", "machines that join find no database at an address of this machine alone")]
    return [ok("runs", "worked by Ray on this machine")]
