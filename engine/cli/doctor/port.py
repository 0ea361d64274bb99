"""The port: free for the engine, or the engine itself answers there."""

import socket
from typing import Any

import httpx

from engine.cli.doctor.findings import Finding, missing, note, ok
from engine.core.settings import Settings

ASK_SECONDS = 3.0


async def look_at_port(settings: Settings) -> list[Finding]:
    """Find out who listens where the engine would; whether a running one is ready is told too."""
    if settings.port == 0:
        return [ok("port", "a free one is taken at each start")]
    host = settings.host
    if _is_free(host, settings.port):
        return [ok("port", f"{host}, port {settings.port} is free; no engine is running there")]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    address = f"[{reachable}]" if ":" in reachable else reachable
    ready = await _readiness(f"http://{address}:{settings.port}")
    if ready is None:
        text = f"something that is not the engine listens on {host}, port {settings.port}: set RUGPT_PORT"
        return [missing("port", text)]
    found = [ok("port", f"the engine answers on {host}, port {settings.port}")]
    model = ready["model"]
    if ready["ready"]:
        return [*found, ok("running engine", f"ready, {model['provider']}:{model['name']} answers")]
    text = f"not ready: database {ready['database']}, model: {model.get('detail') or 'none'}"
    return [*found, note("running engine", text)]


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


async def _readiness(url: str) -> dict[str, Any] | None:
    """Return what the engine says of itself, or None when it is not the engine."""
    try:
        async with httpx.AsyncClient(timeout=ASK_SECONDS, trust_env=False) as client:
            answer = await client.get(f"{url}/api/v1/health/ready")
        ready = answer.json()
    except (httpx.HTTPError, ValueError):
        return None
    return ready if isinstance(ready, dict) and {"ready", "database", "model"} <= ready.keys() else None
