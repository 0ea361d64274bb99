"""Every setting of the engine: one frozen tree, read once in `bootstrap.py` and passed down in parts."""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)


class _SecretFiles(SecretsSettingsSource):
    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__call__().items() if value != ""}


class Settings(BaseSettings):
    """What can be set, by environment variables named `RUGPT_…`, a `.env` file, or a folder of files."""

    model_config = SettingsConfigDict(
        env_prefix="RUGPT_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    secrets_dir: Path | None = Field(
        None,
        description="A folder of files named like variables, `rugpt_database_url` for one.",
    )
    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8100, ge=0, le=65535, description="Port the API listens on; 0 takes a free one.")
    data_dir: Path = Field(
        Path("data"), description="Where the embedded database, the secret key and models live."
    )
    database_url: SecretStr | None = Field(
        None, description="A PostgreSQL server to use instead of the embedded one."
    )
    database_owner_url: SecretStr | None = Field(
        None, description="The login that migrates, where it differs from the one that works."
    )
    database_pool_size: int = Field(10, ge=2, le=50, description="Connections per process.")
    secret_key: SecretStr | None = Field(
        None, min_length=32, description="Signs access tokens; made and kept in the data folder when unset."
    )
    public_url: str | None = Field(
        None, description="The address that people use, such as https://rugpt.example.com; where it differs."
    )
    web_base: str = Field(
        "/api/v1",
        pattern=r"^(/[A-Za-z0-9._~-]+)+$",
        description="Where the web client finds the API; /api/v1/web where it comes through the VPN's proxy.",
    )
    registration: Literal["first", "open", "closed"] = Field(
        "first", description="Who may make an organization over HTTP."
    )
    access_token_minutes: int = Field(15, ge=1, le=60, description="How long an access token works.")
    refresh_token_days: int = Field(30, ge=1, le=365, description="How long a session lasts unused.")
    trusted_proxies: str = Field(
        "",
        description="Addresses whose X-Forwarded-For is believed, with commas between; none when unset.",
    )

    model: str | None = Field(
        None, description="`provider:name`, such as ollama:qwen2.5:7b, openai:gpt-x or embedded:smollm2-135m."
    )
    model_client: Literal["native", "langchain"] = Field(
        "native", description="The thin streaming client, or LangChain's own (slower; see docs/decisions)."
    )
    openai_base_url: str = Field(
        "https://api.openai.com/v1",
        description="Any OpenAI-compatible server; several copies of one, with commas between.",
    )
    openai_api_key: SecretStr | None = Field(None, description="Its key, where it wants one.")
    ollama_url: str = Field("http://127.0.0.1:11434", description="Where Ollama listens.")
    model_context_tokens: int = Field(8192, ge=1024, description="Context window to ask for and to fill.")
    model_answer_tokens: int | None = Field(
        None, ge=1, description="Most tokens of one model call; a third of the context window when unset."
    )
    model_parallel: int = Field(4, ge=1, le=64, description="Answers the embedded model writes at once.")
    model_replicas: int = Field(
        0, ge=0, le=64, description="Copies of the embedded model in Ray; with 0 each worker has its own."
    )
    model_replica_cpus: int | None = Field(
        None, ge=1, description="Cores of each copy; the cluster's are divided among them when unset."
    )
    model_replica_host: Literal["loopback", "node"] | None = Field(
        None, description="Where copies listen; when unset, `node` in a cluster of several machines."
    )
    model_replica_port: int = Field(
        0,
        ge=0,
        le=65000,
        description="Port of the first copy, the next ones follow; 0: free ones, in a cluster 8000–8063.",
    )
    model_replica_key: SecretStr | None = Field(
        None, min_length=32, description="Opens the copies to workers; made from Ray's token when unset."
    )
    model_connect_seconds: float = Field(5, gt=0, description="Limit for reaching the model.")
    model_first_token_seconds: float = Field(120, gt=0, description="Limit for its first token.")
    model_total_seconds: float = Field(300, gt=0, description="Limit for a whole answer.")

    runtime: Literal["ray", "inline"] = Field(
        "ray", description="Where runs are worked: by Ray actors, or in the engine's own process."
    )
    ray_address: str | None = Field(
        None, description="A Ray cluster to join, as `host:port`; a local one is started when unset."
    )
    ray_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Where the local Ray lets `rugpt worker` of other machines join it; 0: nobody joins.",
    )
    ray_token_file: Path | None = Field(
        None, description="Ray's token, readable by nobody else; made in the data folder when unset."
    )
    ray_dashboard: bool = Field(
        False, description="Whether the local Ray has its dashboard, on 127.0.0.1:8265; needs ray[default]."
    )
    workers: int = Field(1, ge=1, le=64, description="Ray actors that work runs, at least.")
    workers_most: int = Field(4, ge=1, le=1000, description="Ray actors that work runs, at most.")
    pools: str = Field(
        "",
        description="Fewest and most actors of the pools that roles name, as `heavy=0-4,vision=1-2`;"
        " 0 to 4 when a pool is not named here.",
    )
    drain_seconds: float = Field(
        60,
        ge=0,
        le=3600,
        description="How long a worker that is to go may end its runs before it hands them back.",
    )
    worker_runs: int = Field(1024, ge=1, le=4096, description="Runs one worker has in hand at once.")
    lease_seconds: float = Field(10, ge=1, le=60, description="How long a silent worker keeps its runs.")
    smtp_url: SecretStr | None = Field(
        None,
        description="Sends e-mail: `smtp://user:password@host:port?tls=starttls`, or `implicit`, or `none`.",
    )
    mail_from: str | None = Field(
        None, min_length=3, max_length=320, description="Whom e-mail is from: `RuGPT <rugpt@example.com>`."
    )
    telegram_token: SecretStr | None = Field(None, description="The token of the bot that notifies people.")
    telegram_api_url: str = Field(
        "https://api.telegram.org", description="The Bot API, or a server of your own."
    )
    telegram_updates: Literal["polling", "webhook"] = Field(
        "polling",
        description="Whether the engine asks Telegram what was pressed, or Telegram calls RUGPT_PUBLIC_URL.",
    )
    events_keep_hours: int = Field(48, ge=24, description="How long a stream can be resumed.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the folder of secrets last: what is said anywhere else wins."""
        said = (init_settings, env_settings, dotenv_settings)
        folder = next((found for each in said if (found := each().get("secrets_dir"))), None)
        if folder is None or not Path(folder).is_dir():  # The field says why that is wrong.
            return said
        return (*said, _SecretFiles(settings_cls, secrets_dir=folder))

    @field_validator("secrets_dir")
    @classmethod
    def _a_folder(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_dir():
            raise ValueError("must be a folder")
        return value

    def bounds_of_pool(self, name: str) -> tuple[int, int]:
        """Return how many workers a pool that roles name has at least and at most."""
        return _bounds_of_pools(self.pools).get(name, (0, 4))

    @field_validator("pools")
    @classmethod
    def _bounds(cls, value: str) -> str:
        _bounds_of_pools(value)
        return value

    @field_validator("model")
    @classmethod
    def _a_model(cls, value: str | None) -> str | None:
        provider, _, name = (value or "embedded").partition(":")
        if provider not in ("ollama", "openai", "embedded") or not (name or provider == "embedded"):
            raise ValueError("must be provider:name, such as ollama:qwen2.5:7b or openai:gpt-x, or embedded")
        return value

    @field_validator("public_url")
    @classmethod
    def _a_public_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be an address such as https://rugpt.example.com")
        return value.rstrip("/")

    @field_validator("host")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if value != "localhost":
            ip_address(value)
        return value


def _bounds_of_pools(text: str) -> dict[str, tuple[int, int]]:
    bounds = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        found = re.fullmatch(r"([a-z][a-z0-9_]{0,31})=(\d{1,4})-(\d{1,4})", part)
        if found is None or not int(found[2]) <= int(found[3]) or int(found[3]) == 0:
            raise ValueError("must be pools with their fewest and most actors, such as heavy=0-4,vision=1-2")
        bounds[found[1]] = int(found[2]), int(found[3])
    return bounds
