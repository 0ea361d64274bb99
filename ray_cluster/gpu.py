"""The configuration by which Ray Serve's LLM app serves a model on GPUs with vLLM: made and checked here.

It needs `ray[llm]` where it is served, not where it is made: nothing of it is imported at the top. The schema
knows the fields we use and no others; there is no `runtime_env` in it, on purpose.
"""

from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.core.errors import Invalid
from engine.core.settings import Settings

BUILDER = "ray.serve.llm:build_openai_app"
ROUTER = "ray.serve.llm.request_router.PrefixCacheAffinityRouter"
BUSY_SHARE = 0.75  # of its slots taken, and another replica is started
# The first part of a model's name that is found here says how it writes tool calls.
_PARSERS = {
    "qwen3-coder": "qwen3_coder",
    "llama-4": "llama4_pythonic",
    "llama-3": "llama3_json",
    "mistral": "mistral",
    "mixtral": "mistral",
    "ministral": "mistral",
    "granite": "granite",
    "internlm": "internlm",
    "deepseek-v3": "deepseek_v3",
    "glm-4.5": "glm45",
    "gpt-oss": "openai",
}
# Where a model does not write calls in these tags its words stay words, and the engine finds calls in them.
_OTHER_PARSER = "hermes"

Parser = Literal[
    "deepseek_v3", "glm45", "granite", "hermes", "internlm", "llama3_json", "llama4_pythonic", "mistral",
    "openai", "qwen3_coder",
]  # fmt: skip
Accelerator = Literal[
    "T4", "V100", "A10G", "L4", "L40S", "A100", "H100", "H200", "H20", "B200", "B300", "GB200", "GB300",
    "RTX-PRO-6000",
]  # fmt: skip


class GpuConfigWrong(Invalid):
    """The configuration for GPUs cannot be what is wanted."""

    code = "gpu_config_wrong"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ModelLoading(_Strict):
    """Which model, and where its weights are."""

    model_id: str = Field(min_length=1, pattern=r"^\S+$")
    model_source: str | None = Field(None, min_length=1)


class EngineArguments(_Strict):
    """What vLLM is told."""

    max_model_len: int = Field(ge=1024)
    max_num_seqs: int = Field(ge=1, le=4096)
    gpu_memory_utilization: float = Field(gt=0.1, le=0.98)
    tensor_parallel_size: int = Field(ge=1, le=64)
    enable_prefix_caching: bool
    enable_auto_tool_choice: bool
    tool_call_parser: Parser


class Autoscaling(_Strict):
    """How many replicas there are."""

    min_replicas: int = Field(ge=0)
    max_replicas: int = Field(ge=1)
    target_ongoing_requests: float = Field(gt=0)

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas is above max_replicas")
        return self


class RequestRouter(_Strict):
    """Who chooses the replica of a request."""

    request_router_class: str = Field(pattern=r"^[\w.]+$")


class Deployment(_Strict):
    """Options of Serve's deployment."""

    autoscaling_config: Autoscaling
    max_ongoing_requests: int = Field(ge=1)
    request_router_config: RequestRouter | None = None


class Llm(_Strict):
    """One model."""

    model_loading_config: ModelLoading
    accelerator_type: Accelerator | None = None
    engine_kwargs: EngineArguments
    deployment_config: Deployment

    @model_validator(mode="after")
    def _scales_in_time(self) -> Self:
        deployment = self.deployment_config
        if deployment.autoscaling_config.target_ongoing_requests > deployment.max_ongoing_requests:
            raise ValueError("replicas are full before another one is started")
        return self


class Arguments(_Strict):
    """What the application is made of."""

    llm_configs: list[Llm] = Field(min_length=1, max_length=8)


class Application(_Strict):
    """One application of Serve."""

    name: str
    route_prefix: str = Field(pattern="^/")
    import_path: Literal["ray.serve.llm:build_openai_app"]
    args: Arguments


class HttpOptions(_Strict):
    """Where Serve's proxy listens."""

    host: str
    port: int = Field(ge=1, le=65535)


class ServeConfig(_Strict):
    """A whole configuration, as `serve run` and a RayService's `serveConfigV2` take it."""

    proxy_location: Literal["HeadOnly", "EveryNode"]
    http_options: HttpOptions
    applications: list[Application] = Field(min_length=1)


def gpu_config(
    settings: Settings,
    *,
    source: str,
    accelerator: str | None = None,
    replicas: tuple[int, int] = (1, 1),
    gpus_each: int = 1,
    memory_share: float = 0.9,
    slots: int = 64,
    host: str = "127.0.0.1",
    port: int = 8000,
) -> dict[str, Any]:
    """Return the configuration that serves a model as our settings will ask for it; raises GpuConfigWrong."""
    provider, _, name = (settings.model or "").partition(":")
    least, most = replicas
    deployment: dict[str, Any] = {
        "autoscaling_config": {
            "min_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": max(1.0, slots * BUSY_SHARE),
        },
        "max_ongoing_requests": slots,
    }
    if most > 1:
        deployment["request_router_config"] = {"request_router_class": ROUTER}
    llm: dict[str, Any] = {
        "model_loading_config": {
            "model_id": name if provider == "openai" and name else source.rstrip("/").rpartition("/")[2],
            "model_source": source,
        },
        "engine_kwargs": {
            "max_model_len": settings.model_context_tokens,
            "max_num_seqs": slots,
            "gpu_memory_utilization": memory_share,
            "tensor_parallel_size": gpus_each,
            "enable_prefix_caching": True,
            "enable_auto_tool_choice": True,
            "tool_call_parser": parser_of(source),
        },
        "deployment_config": deployment,
    }
    if accelerator is not None:
        llm["accelerator_type"] = accelerator
    config = {
        "proxy_location": "HeadOnly",
        "http_options": {"host": host, "port": port},
        "applications": [
            {
                "name": "rugpt-models",
                "route_prefix": "/",
                "import_path": BUILDER,
                "args": {"llm_configs": [llm]},
            }
        ],
    }
    check(config)
    return config


def parser_of(source: str) -> str:
    """Return how vLLM finds tool calls in what a model of this name writes."""
    folded = source.lower()
    return next((parser for part, parser in _PARSERS.items() if part in folded), _OTHER_PARSER)


def check(config: object) -> None:
    """Raise GpuConfigWrong, naming the fields, unless the configuration holds what it may and must."""
    try:
        ServeConfig.model_validate(config, strict=True)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'all'}: {each['msg']}" for each in error.errors()
        )
        raise GpuConfigWrong(f"The configuration for GPUs is wrong. {problems}") from None


def check_with_ray(config: dict[str, Any]) -> bool:
    """Check each model by Ray's own classes as well; False where `ray[llm]` is not installed."""
    try:
        from ray.serve.llm import LLMConfig
    except ImportError:  # Also when vLLM is missing, without which that module is of no use.
        return False
    for application in config["applications"]:
        for llm in application["args"]["llm_configs"]:
            try:
                LLMConfig(**llm)
            except ValueError as error:
                raise GpuConfigWrong(f"Ray refuses the configuration: {error}") from None
    return True


def written(config: dict[str, Any]) -> str:
    """Return the configuration as YAML, with how it is used."""
    model = config["applications"][0]["args"]["llm_configs"][0]["model_loading_config"]["model_id"]
    http = config["http_options"]
    return (
        "# Made by `rugpt gpu-config`; served by `serve run FILE` where ray[llm] is installed, or as the\n"
        "# serveConfigV2 of a RayService. The engine is then told:\n"
        f"#   RUGPT_MODEL=openai:{model}\n"
        f"#   RUGPT_OPENAI_BASE_URL=http://{http['host']}:{http['port']}/v1\n"
        "# Serve asks nobody for a key: let only the machines of the cluster reach this port.\n"
        + yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    )
