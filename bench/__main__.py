"""Measure the engine beside a byte proxy, print the tables and keep them in bench/RESULTS.md."""

import argparse
import resource
import sys
from collections.abc import Mapping, Sequence

import uvloop
from rich.console import Console

from bench import ray, report
from bench.engine_process import EngineRefused
from bench.http1 import BadAnswer
from bench.processes import ROOT, DidNotStart
from bench.report import Section
from bench.scenarios import SCENARIOS
from bench.stage import set_stage

EVERY_SCENARIO = {**SCENARIOS, **ray.SCENARIOS}


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    kept = "RESULTS.md stays as it is"
    names = ", ".join(EVERY_SCENARIO)
    add = parser.add_argument
    add("--quick", action="store_true", help=f"fewer turns and steps; {kept}")
    add("--floor", action="store_true", help=f"the model and the proxy, no engine; {kept}")
    add("--ray", action="store_true", help="what Ray costs and gives beside one process")
    add("--only", action="append", choices=list(EVERY_SCENARIO), metavar="NAME", help=f"one of {names}")
    add(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="RUGPT_NAME=VALUE",
        help="an engine setting",
    )
    return parser.parse_args(arguments)


def _setting(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name.startswith("RUGPT_") or not value:
        raise argparse.ArgumentTypeError("write RUGPT_NAME=VALUE")
    return name, value


def _shown(asked: argparse.Namespace) -> list[str]:
    """Return the arguments for the record; values of settings may be secrets and are left out."""
    shown = ["--ray"] if asked.ray else []
    shown += [word for name in asked.only or () for word in ("--only", name)]
    return shown + [word for name, _ in asked.set for word in ("--set", f"{name}=…")]


def _allow_many_connections() -> None:
    """Raise the limit of open files as far as we may: every stream is two sockets in the server."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def measure(
    console: Console, *, names: Sequence[str], quick: bool, with_engine: bool, settings: Mapping[str, str]
) -> tuple[list[Section], float]:
    """Play the scenarios one after another; return what they found, and how many cores others used.

    A scenario that cannot be played says why and is left out.
    """
    sections = []
    async with set_stage(console, quick=quick, with_engine=with_engine, settings=settings) as stage:
        for name in names:
            try:
                sections.append(await EVERY_SCENARIO[name](stage))
            except (DidNotStart, EngineRefused, BadAnswer, OSError) as error:
                console.print(f"{name}: {type(error).__name__}: {error}", style="red", markup=False)
    return sections, stage.others_cores


def main() -> int:
    asked = read_arguments()
    console = Console()
    _allow_many_connections()
    names = asked.only or list(ray.SCENARIOS if asked.ray else SCENARIOS)
    work = measure(
        console,
        names=names,
        quick=asked.quick,
        with_engine=not asked.floor,
        settings=dict(asked.set),
    )
    sections, others_cores = uvloop.run(work)
    for section in sections:
        section.show(console)
    if others_cores > 0.1:
        console.print(f"Other programs used up to {others_cores:.1f} cores meanwhile.", style="yellow")
    if sections and not asked.quick and not asked.floor:
        report.write(sections, _shown(asked), others_cores)
        console.print(f"Written to {report.RESULTS.relative_to(ROOT)}.")
    return 0 if len(sections) == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
