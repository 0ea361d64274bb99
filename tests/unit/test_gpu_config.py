"""The configuration for GPUs: what our settings ask for, nothing unknown, and readable where it is served."""

import copy
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from engine.core.settings import Settings
from ray_cluster import gpu
from ray_cluster.gpu import GpuConfigWrong

QWEN = "Qwen/Qwen2.5-7B-Instruct"


def some(**changes: object) -> Settings:
    return Settings(_env_file=None, **changes)  # type: ignore[arg-type, call-arg]


def llm_of(config: dict[str, Any]) -> dict[str, Any]:
    llm: dict[str, Any] = config["applications"][0]["args"]["llm_configs"][0]
    return llm


def test_what_is_served_is_what_the_engine_will_ask_for() -> None:
    settings = some(model="openai:house-model", model_context_tokens=16384)

    llm = llm_of(gpu.gpu_config(settings, source=QWEN, accelerator="L4", gpus_each=2, slots=32))

    assert llm["model_loading_config"] == {"model_id": "house-model", "model_source": QWEN}
    assert llm["accelerator_type"] == "L4"
    assert llm["engine_kwargs"]["max_model_len"] == 16384
    assert llm["engine_kwargs"]["tensor_parallel_size"] == 2
    assert llm["deployment_config"]["max_ongoing_requests"] == llm["engine_kwargs"]["max_num_seqs"] == 32


def test_without_a_model_set_it_is_called_by_its_own_name() -> None:
    config = gpu.gpu_config(some(), source=QWEN)

    assert llm_of(config)["model_loading_config"]["model_id"] == "Qwen2.5-7B-Instruct"
    assert "accelerator_type" not in llm_of(config)


def test_several_replicas_are_scaled_and_keep_the_prompts_that_they_have_read() -> None:
    one = llm_of(gpu.gpu_config(some(), source=QWEN))["deployment_config"]
    many = llm_of(gpu.gpu_config(some(), source=QWEN, replicas=(0, 4)))["deployment_config"]

    assert "request_router_config" not in one
    assert many["request_router_config"] == {"request_router_class": gpu.ROUTER}
    assert many["autoscaling_config"] == {
        "min_replicas": 0, "max_replicas": 4, "target_ongoing_requests": 48.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "parser"),
    [
        (QWEN, "hermes"),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3_coder"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3_json"),
        ("/srv/weights/Ministral-8B", "mistral"),
        ("a/model-nobody-knows", "hermes"),
    ],
)
def test_tool_calls_are_found_as_the_model_writes_them(source: str, parser: str) -> None:
    llm = llm_of(gpu.gpu_config(some(), source=source))

    assert llm["engine_kwargs"]["tool_call_parser"] == parser
    assert llm["engine_kwargs"]["enable_auto_tool_choice"] is True


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"accelerator": "Voodoo2"}, "accelerator_type"),
        ({"replicas": (3, 2)}, "min_replicas"),
        ({"memory_share": 1.5}, "gpu_memory_utilization"),
        ({"slots": 0}, "max_num_seqs"),
        ({"port": 0}, "port"),
        ({"source": "two words"}, "model_id"),
    ],
)
def test_what_cannot_be_is_refused_by_the_name_of_its_field(change: dict[str, Any], word: str) -> None:
    with pytest.raises(GpuConfigWrong, match=word):
        gpu.gpu_config(some(), **{"source": QWEN, **change})


@pytest.mark.parametrize("where", ["top", "application", "llm", "engine", "deployment"])
def test_fields_that_nobody_knows_are_refused(where: str) -> None:
    config = copy.deepcopy(gpu.gpu_config(some(), source=QWEN))
    llm = llm_of(config)
    parts = {
        "top": config, "application": config["applications"][0], "llm": llm, "engine": llm["engine_kwargs"],
        "deployment": llm["deployment_config"],
    }  # fmt: skip
    parts[where]["runtime_env"] = {"pip": ["anything"]}

    with pytest.raises(GpuConfigWrong, match="runtime_env"):
        gpu.check(config)


def test_what_is_printed_is_read_back_as_it_was() -> None:
    config = gpu.gpu_config(some(), source=QWEN, host="10.0.0.5", replicas=(1, 2))

    text = gpu.written(config)

    assert yaml.safe_load(text) == config
    assert "RUGPT_OPENAI_BASE_URL=http://10.0.0.5:8000/v1" in text


def ray_on(config: dict[str, Any]) -> tuple[int, str]:
    """Have the Ray of this release check a configuration as it is written."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.ray_llm"],
        input=gpu.written(config),
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        timeout=50,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, done.stdout


def test_ray_itself_takes_what_is_made_and_refuses_what_is_not_its_own() -> None:
    made = gpu.gpu_config(some(), source=QWEN, accelerator="L4", replicas=(0, 4), gpus_each=2)
    wrong = copy.deepcopy(made)
    llm_of(wrong)["deployment_config"]["max_ongoing_requests"] = 0
    unknown_router = copy.deepcopy(made)
    router = llm_of(unknown_router)["deployment_config"]["request_router_config"]
    router["request_router_class"] += "Gone"

    assert ray_on(made) == (0, "")
    assert "'max_ongoing_requests': 0" in ray_on(wrong)[1]
    assert "PrefixCacheAffinityRouterGone" in ray_on(unknown_router)[1]


def test_our_kinds_of_gpu_are_kinds_that_ray_knows() -> None:
    from typing import get_args

    from ray.util.accelerators import accelerators

    assert set(get_args(gpu.Accelerator)) <= {*map(str, vars(accelerators).values())}


def test_where_ray_cannot_serve_models_it_is_said_and_where_it_can_it_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = gpu.gpu_config(some(), source=QWEN)
    monkeypatch.setitem(sys.modules, "ray.serve.llm", None)
    without = gpu.check_with_ray(config)
    asked: list[dict[str, Any]] = []

    def accept(**llm: Any) -> None:
        asked.append(llm)
        if llm["engine_kwargs"]["max_num_seqs"] == 1:
            raise ValueError("no")

    module = ModuleType("ray.serve.llm")
    module.LLMConfig = accept  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray.serve.llm", module)

    assert (without, gpu.check_with_ray(config)) == (False, True)
    assert asked == [llm_of(config)]
    with pytest.raises(GpuConfigWrong, match="Ray refuses"):
        gpu.check_with_ray(gpu.gpu_config(some(), source=QWEN, slots=1))
