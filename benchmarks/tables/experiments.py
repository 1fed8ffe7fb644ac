"""The paper's experiments: their rows, their tables and their pictures."""

from __future__ import annotations

from pathlib import Path

from benchmarks.environment import ROOT
from benchmarks.experiments import NAMES, experiment
from benchmarks.experiments._base import compute, stored
from benchmarks.report import Rows

PICTURES = ROOT / "docs" / "_static" / "experiments"


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    only: str | None = None,
    pictures: bool = False,
    folder: Path = PICTURES,
) -> str:
    """Compute what is not stored, or draw what is; returns the tables.

    ``side`` makes no difference: no experiment says much without its peers.
    """
    for name in only.split("|") if only else NAMES:
        module = experiment(name)
        if not pictures:
            compute(rows, name, module.tasks(seeds or module.N_LOGS))
        elif found := stored(rows, name):
            from benchmarks.experiments._drawing import save

            save(module.picture(found), folder / f"{name}.svg")
    return table(rows)


def table(rows: Rows) -> str:
    """The tables of all experiments that have rows."""
    text = []
    for name in NAMES:
        if found := stored(rows, name):
            text.append(f"## {name}\n\n{experiment(name).table(found)}")
    return "\n\n".join(text)
