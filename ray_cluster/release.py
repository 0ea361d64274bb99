"""What distinguishes one release of the engine from the next: its code and what its workers are told."""

import hashlib
import hmac
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from engine.core.settings import Settings

ROOT = Path(__file__).parents[1]
FOLDERS = ("engine", "ray_cluster", "prompts")
KINDS = (".py", ".sql", ".yaml", ".md")
# What workers do is the same, whatever an engine says here.
OF_THE_ENGINE_ALONE = {
    "host", "port", "data_dir", "database_owner_url", "secret_key", "registration", "access_token_minutes",
    "refresh_token_days", "trusted_proxies", "ray_address", "ray_port", "ray_token_file", "ray_dashboard",
    "events_keep_hours",
}  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class Release:
    """A release as one engine has it; of two engines, the one that began later has the say."""

    since: float
    name: str


def release_of(settings: Settings, token: bytes, *, since: float) -> Release:
    """Return the release of this code with these settings; its name tells nothing of either."""
    digest = hmac.new(token, digestmod=hashlib.sha256)
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in KINDS:
                digest.update(str(path.relative_to(ROOT)).encode())
                digest.update(path.read_bytes())
    told = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in settings.model_dump(exclude=OF_THE_ENGINE_ALONE).items()
    }
    digest.update(json.dumps(told, sort_keys=True).encode())
    return Release(since, digest.hexdigest()[:12])
