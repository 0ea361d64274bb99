"""Settings on their way to an actor: sealed with the cluster's token, because Ray shows arguments to all.

Whoever holds the token may run code in the cluster, so the token opens what travels there and no more.
"""

import base64
import json

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr

from engine.core.errors import Invalid
from engine.core.secret import derive
from engine.core.settings import Settings

PURPOSE = "settings of actors"
MODELS = "key of model replicas"


class SettingsSealBroken(Invalid):
    """The settings that an actor was given were sealed with another token than this machine's."""

    code = "settings_seal_broken"

    def __init__(self) -> None:
        super().__init__("The settings cannot be opened. Every machine needs the same RUGPT_RAY_TOKEN_FILE.")


def seal(settings: Settings, token: bytes) -> bytes:
    """Return settings, secrets among them, as nobody without the token can read them."""
    values = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in settings.model_dump(exclude={"secrets_dir"}).items()  # a folder of this machine
    }
    return _box(token).encrypt(json.dumps(values, default=str).encode())


def unseal(sealed: bytes, token: bytes) -> Settings:
    """Return the settings; raises SettingsSealBroken when they were sealed with another token.

    The key of the model's replicas is among them: whoever holds the token can make it, so it need not travel.
    """
    try:
        values = json.loads(_box(token).decrypt(sealed))
    except InvalidToken:
        raise SettingsSealBroken from None
    values["model_replica_key"] = values["model_replica_key"] or derive(token, MODELS).hex()
    return Settings.model_validate(values)


def _box(token: bytes) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(derive(token, PURPOSE)))
