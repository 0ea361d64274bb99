"""What the guides tell people to write is what the engine takes."""

import re
import shutil
from pathlib import Path

from engine.core.settings import Settings
from engine.roles import load_roles

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_role_of_the_guide_is_a_role(tmp_path: Path) -> None:
    blocks = BLOCK.findall((ROOT / "docs" / "guides" / "add-a-role.md").read_text("utf-8"))
    role, chain, council, pool = [text for kind, text in blocks if kind == "yaml"]
    (prompt,) = [text for kind, text in blocks if kind == "markdown"]
    roles = shutil.copytree(ROOT / "engine" / "roles", tmp_path / "roles")
    prompts = shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    (prompts / "buyer.md").write_text(prompt, "utf-8")
    for step in ("buyer_compare.md", "buyer_advise.md"):
        (prompts / step).write_text("needs:\nСравни.\n", "utf-8")
    plain = role.replace("agent_type: simple\n", "")
    without_tools = re.sub(r"^tools: .*\n", "", plain, flags=re.MULTILINE)

    for kind, text in (
        ("simple", role + pool),
        ("chain", plain + chain),
        ("multi_agent", without_tools + council),
    ):
        (roles / "buyer.yaml").write_text(text, "utf-8")
        catalogue = load_roles(roles, prompts)

        buyer = catalogue.get("buyer")
        assert catalogue.problems == ()
        assert buyer is not None
        assert buyer.agent_type == kind


def test_every_setting_that_a_document_names_exists() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"RUGPT_([A-Z_]+)", page.read_text("utf-8"))}
    others = {"PYTHON", "ENGINE"}  # of scripts/environment and of web/vite.config.ts

    assert len(named) > 10
    assert {name.lower() for name in named - others} <= Settings.model_fields.keys()
