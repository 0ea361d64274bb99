"""The one secret of an installation, from which every key is derived."""

import hmac
import os
import secrets
from pathlib import Path

from pydantic import SecretStr

from engine.core.errors import Invalid

_LENGTH = 32


class SecretKeyUnsafe(Invalid):
    code = "secret_key_unsafe"


def load_secret(configured: SecretStr | None, data_dir: Path) -> bytes:
    """Return the configured secret, or the one kept in the data folder, which is made at the first start."""
    if configured is not None:
        return configured.get_secret_value().encode()
    path = data_dir / "secret.key"
    data_dir.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_LENGTH))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)  # Unlike a rename it keeps what is there: the first process wins.
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    if path.stat().st_mode & 0o077:
        raise SecretKeyUnsafe(f"Others can read {path}. Run: chmod 600 {path}")
    key = path.read_bytes()
    if len(key) < _LENGTH:
        raise SecretKeyUnsafe(f"{path} is too short to be the key. Restore it from a backup.")
    return key


def derive(secret: bytes, purpose: str) -> bytes:
    """Return 32 bytes for one purpose; knowing them tells nothing of the others."""
    return hmac.digest(secret, purpose.encode(), "sha256")
