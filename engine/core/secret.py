"""The one secret of an installation, from which every key is derived."""

import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from engine.core.errors import Invalid, Unavailable

_LENGTH = 32
_NONCE_BYTES = 12


class SecretKeyUnsafe(Invalid):
    code = "secret_key_unsafe"


class SealBroken(Unavailable):
    """A secret that was sealed with another key: restore the key, or set the secret anew."""

    code = "seal_broken"

    def __init__(self) -> None:
        super().__init__("A stored secret cannot be read with this installation's key. Set it anew.")


class Seal:
    """Makes secrets unreadable at rest: AES-256-GCM under a key derived from the installation's secret."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(derive(secret, "seal"))
        self._signing_key = derive(secret, "sign")

    def close(self, plain: bytes, *, about: str) -> bytes:
        """Seal a secret; `about` says whose it is, and it opens for nothing else."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, about.encode())

    def open(self, sealed: bytes, *, about: str) -> bytes:
        """Return what was sealed, or raise SealBroken."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about.encode())
        except (InvalidTag, ValueError):
            raise SealBroken from None

    def sign(self, content: bytes, *, about: str) -> bytes:
        """Return 16 bytes that nobody else can make for this content and purpose."""
        return hmac.digest(self._signing_key, about.encode() + b"\0" + content, "sha256")[:16]

    def is_signed(self, content: bytes, signature: bytes, *, about: str) -> bool:
        """Whether `sign` made this signature, told in constant time."""
        return hmac.compare_digest(self.sign(content, about=about), signature)


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
