"""Which model answers: what is configured, else a reachable Ollama, else the embedded one."""

from dataclasses import dataclass

from engine.adapters.models.embedded import DEFAULT, TINY, EmbeddedModel, Place
from engine.adapters.models.ollama import OllamaModel, chat_models
from engine.adapters.models.openai import OpenAIModel
from engine.adapters.models.replicas import ReplicatedModel
from engine.adapters.models.weights import weights_of
from engine.adapters.models.wire import Limits
from engine.core.errors import Invalid
from engine.core.feed import Feed
from engine.core.settings import Settings
from engine.domains.runs import ChatModel, ModelUnavailable

_PROBE_SECONDS = 3.0  # A busy machine answers late, and taking the embedded one instead means 1 GB to fetch.
_PREFERRED = "qwen2.5:7b"
_EXAMPLES = {
    "ollama": "ollama:qwen2.5:7b",
    "openai": "openai:NAME (any server that speaks OpenAI's protocol; see RUGPT_OPENAI_BASE_URL)",
    "embedded": f"embedded:{DEFAULT}, embedded:{TINY}",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The model that answers, and a sentence saying why it is this one."""

    model: ChatModel
    reason: str


async def choose_model(
    settings: Settings, *, tiny: bool = False, start: bool = True, feed: Feed | None = None
) -> Choice:
    """Return the model to use; raise Invalid when RUGPT_MODEL names none.

    An embedded model begins at once to be fetched and loaded in the background; with `start=False` only
    when it is first asked. Where Ray hosts replicas of it, those answer that are told of on the feed.
    Whether the model can be reached is `model.check()`'s to say.
    """
    if tiny:
        return _embedded(settings, TINY, "it was asked for by --tiny", start=start, feed=feed)
    if settings.model:
        return _configured(settings, settings.model, start=start, feed=feed)
    if settings.model_replicas:
        return _embedded(settings, DEFAULT, "RUGPT_MODEL_REPLICAS says so", start=start, feed=feed)
    try:
        there = await chat_models(settings.ollama_url, seconds=_PROBE_SECONDS)
    except ModelUnavailable:
        why = f"RUGPT_MODEL is not set and no Ollama answers at {settings.ollama_url}"
        return _embedded(settings, DEFAULT, why, start=start, feed=feed)
    if not there:
        why = f"RUGPT_MODEL is not set and the Ollama at {settings.ollama_url} has no chat model"
        return _embedded(settings, DEFAULT, why, start=start, feed=feed)
    name = _PREFERRED if _PREFERRED in there else there[0]
    return Choice(
        _ollama(settings, name),
        f"ollama:{name}, because RUGPT_MODEL is not set and Ollama answers at {settings.ollama_url}.",
    )


def _configured(settings: Settings, wanted: str, *, start: bool, feed: Feed | None) -> Choice:
    provider, _, name = wanted.partition(":")
    why = "because RUGPT_MODEL says so"
    if provider == "ollama" and name:
        return Choice(_ollama(settings, name), f"{wanted}, {why}.")
    if provider == "openai" and name:
        return Choice(_openai(settings, name), f"{wanted}, {why}.")
    if provider == "embedded":
        return _embedded(settings, name or DEFAULT, why.removeprefix("because "), start=start, feed=feed)
    allowed = "; ".join(_EXAMPLES.values())
    raise Invalid(f"RUGPT_MODEL is {wanted!r}. It must be provider:name, one of: {allowed}.", model=wanted)


def _ollama(settings: Settings, name: str) -> ChatModel:
    if settings.model_client == "langchain":
        from engine.adapters.models.langchain import langchain_ollama  # costs seconds, so only on request

        return langchain_ollama(
            name=name,
            url=settings.ollama_url,
            context_tokens=settings.model_context_tokens,
            limits=_limits(settings),
        )
    return OllamaModel(
        name=name,
        url=settings.ollama_url,
        context_tokens=settings.model_context_tokens,
        limits=_limits(settings),
    )


def _openai(settings: Settings, name: str) -> ChatModel:
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
    urls = [url.strip() for url in settings.openai_base_url.split(",") if url.strip()]
    if not urls or (len(urls) > 1 and settings.model_client == "langchain"):
        raise Invalid("RUGPT_OPENAI_BASE_URL must be one address, or several for RUGPT_MODEL_CLIENT=native.")
    if settings.model_client == "langchain":
        from engine.adapters.models.langchain import langchain_openai  # costs seconds, so only on request

        return langchain_openai(name=name, base_url=urls[0], api_key=key, limits=_limits(settings))
    if len(urls) > 1:
        return ReplicatedModel(name=name, api_key=key, limits=_limits(settings), urls=urls)
    return OpenAIModel(name=name, base_url=urls[0], api_key=key, limits=_limits(settings))


def _embedded(settings: Settings, name: str, why: str, *, start: bool, feed: Feed | None) -> Choice:
    if settings.model_replicas and settings.model_replica_key is not None and feed is not None:
        replicas = ReplicatedModel(
            name=name,
            provider="embedded",
            api_key=settings.model_replica_key.get_secret_value(),
            limits=_limits(settings),
            feed=feed,
            wanted=settings.model_replicas,
            tools=weights_of(name).tools,
        )
        return Choice(
            replicas, f"embedded:{name}, because {why}; Ray hosts it {settings.model_replicas} times."
        )
    model = embedded_model(settings, name, show_progress=True)
    if start:
        model.start()
    return Choice(model, f"embedded:{name}, because {why}.")


def embedded_name(settings: Settings) -> str | None:
    """Return the embedded model that is set, the usual one when none is; None where another provider is."""
    provider, _, name = (settings.model or "embedded").partition(":")
    return (name or DEFAULT) if provider == "embedded" else None


def embedded_model(
    settings: Settings, name: str, *, place: Place | None = None, show_progress: bool = False
) -> EmbeddedModel:
    """Return an embedded model as it is set, not started yet; raises Invalid when there is none such."""
    return EmbeddedModel(
        name=name,
        folder=settings.data_dir / "models",
        context_tokens=settings.model_context_tokens,
        parallel=settings.model_parallel,
        limits=_limits(settings),
        show_progress=show_progress,
        place=place,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        connect_seconds=settings.model_connect_seconds,
        first_token_seconds=settings.model_first_token_seconds,
        total_seconds=settings.model_total_seconds,
    )
