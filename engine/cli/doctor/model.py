"""The model: which one would answer, why, and whether it can."""

import importlib.util
import shutil
from pathlib import Path

from engine.adapters.models import choose_model
from engine.adapters.models.weights import known_weights
from engine.cli.doctor.findings import Finding, missing, note, ok
from engine.core.errors import Refusal
from engine.core.settings import Settings
from engine.domains.runs import ChatModel


async def look_at_model(settings: Settings, *, tiny: bool) -> list[Finding]:
    """Choose a model as the engine would, without starting it, and ask how it is."""
    try:
        choice = await choose_model(settings, tiny=tiny, start=False)
    except Refusal as refusal:
        return [missing("model", refusal.message)]
    try:
        return [ok("model", choice.reason), await _state(choice.model, settings)]
    finally:
        await choice.model.close()


async def _state(model: ChatModel, settings: Settings) -> Finding:
    health = await model.check()
    if model.provider == "embedded":
        return _embedded(model.name, settings.data_dir, is_fetched=bool(health.facts["fetched"]))
    if health.ok:
        return ok("model state", health.detail or "it can be reached")
    return missing("model state", health.detail)


def _embedded(name: str, data_dir: Path, *, is_fetched: bool) -> Finding:
    if importlib.util.find_spec("xllamacpp") is None:
        return missing("model state", "xllamacpp has no build for this machine: use Ollama (RUGPT_MODEL)")
    if is_fetched:
        return ok("model state", "its weights are here; it is loaded when the engine starts")
    weights = known_weights()[name]
    size = f"{weights.fetch_bytes / 1e9:.1f} GB"
    free = shutil.disk_usage(nearest_folder(data_dir)).free
    if free < weights.bytes + max(part.wheel_bytes for part in weights.parts) * 2:
        return missing("model state", f"its weights ({size}) are not fetched yet, and the disk has no room")
    return note("model state", f"its weights ({size}) are not fetched yet: the first start does that")


def nearest_folder(path: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    path = path.resolve()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
