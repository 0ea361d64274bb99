"""Has Ray's own classes check a configuration for GPUs, as YAML: `python -m tests.unit.ray_llm < FILE`.

Ray's own code is what checks. What that imports from others (vLLM, gRPC, Arrow) need not be there: none of it
has a say in what a configuration may hold, so names without content stand in for it.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import yaml

OF_OTHERS = ("vllm", "grpc", "grpc_reflection", "numpy", "pyarrow")


class Nothing(type):
    """A class without content, whatever it is asked for."""

    def __getattr__(cls, name: str) -> "Nothing":
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing(name, (), {})


class Absent(ModuleType):
    """A module that has every name."""

    def __getattr__(self, name: str) -> Nothing:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing(name, (), {})


class StandIns(MetaPathFinder, Loader):
    """Finds what is not installed."""

    def __init__(self) -> None:
        self._absent = {name for name in OF_OTHERS if find_spec(name) is None}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        is_absent = fullname.partition(".")[0] in self._absent
        return ModuleSpec(fullname, self, is_package=True) if is_absent else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Absent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave it empty."""


def main() -> int:
    """Check what comes in; return 1, and say why, when Ray refuses it."""
    sys.meta_path.append(StandIns())
    from ray.serve.llm import LLMConfig, LLMServingArgs
    from ray.serve.schema import ServeDeploySchema

    config: dict[str, Any] = yaml.safe_load(sys.stdin)
    try:
        ServeDeploySchema.model_validate(config)
        for application in config["applications"]:
            for llm in application["args"]["llm_configs"]:
                LLMConfig(**llm)
            LLMServingArgs(**application["args"])
    except ValueError as refused:
        print(refused)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
