"""What is set differently from how the engine comes."""

import re

from pydantic import SecretStr

from engine.cli.doctor.findings import Finding, ok
from engine.core.settings import Settings

# A password may stand in any address: http://name:password@host
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@")


def look_at_settings(settings: Settings) -> list[Finding]:
    """Name every setting that differs from its default; secrets are only said to be set."""
    changed = [
        ok(f"RUGPT_{name.upper()}", shown(getattr(settings, name)))
        for name, field in Settings.model_fields.items()
        if getattr(settings, name) != field.default and name != "log_level"
    ]
    return changed or [ok("settings", "all as they come (docs/guides/settings.md lists them)")]


def shown(value: object) -> str:
    """Return a setting's value as it may be read over somebody's shoulder."""
    if isinstance(value, SecretStr):
        return "set (hidden)"
    return _CREDENTIALS.sub("…@", str(value))
