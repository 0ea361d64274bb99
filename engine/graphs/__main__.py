"""Draws every graph beside its code: `python -m engine.graphs`, after a graph has changed."""

from pathlib import Path

from engine.graphs.running import GRAPHS, build_graph

for name in GRAPHS:
    Path(__file__).with_name(f"{name}.mmd").write_text(build_graph(name).get_graph().draw_mermaid(), "utf-8")
