"""Language models of the outside world, and the one inside, behind `engine.domains.runs.ChatModel`."""

from engine.adapters.models.choice import Choice, choose_model, embedded_model, embedded_name
from engine.adapters.models.embedded import DEFAULT, TINY, EmbeddedModel, Place
from engine.adapters.models.ollama import OllamaModel
from engine.adapters.models.openai import OpenAIModel
from engine.adapters.models.replicas import ReplicatedModel
from engine.adapters.models.wire import Limits

__all__ = [
    "DEFAULT",
    "TINY",
    "Choice",
    "EmbeddedModel",
    "Limits",
    "OllamaModel",
    "OpenAIModel",
    "Place",
    "ReplicatedModel",
    "choose_model",
    "embedded_model",
    "embedded_name",
]
