"""``python -m benchmarks compare``: are our scores as good as another revision's?

For changes that are meant to change numbers: the tables run with the package, the
benchmarks and the grids of that revision, and with those of this checkout.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.environment import ROOT, threads
from benchmarks.report import Rows, best_settings, markdown, setting_text
from benchmarks.unchanged import checkout

# Those whose rows have the score of a policy.
TABLES = (
    "frozen_lake",
    "control",
    "cartpole_default",
    "pendulum",
    "continuous_lq",
    "total_derivative",
    "stochastic",
)
# Its settings are lines of the table, and not a grid to choose from.
LINES = ("total_derivative",)
# Its score is how far apart two values are.
DISTANCES = ("stochastic",)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """A method's best setting on one problem, before and after.

    Parameters
    ----------
    problem, method : str
    before, after : dict or None
        As of `best_settings`; None where that side has no row.
    error : float
        Standard error of the mean difference over the logs.
    """

    problem: str
    method: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    error: float = math.nan

    @property
    def difference(self) -> float:
        """Mean score after, less before."""
        if self.before is None or self.after is None:
            return math.nan
        return float(self.after["mean"] - self.before["mean"])

    @property
    def worse(self) -> bool:
        """Whether less than before by more than it varied over the logs."""
        # Equal scores may differ by rounding, where the spread is zero.
        return self.before is not None and self.difference < -self.before["sd"] - 1e-9


def compare(before: Iterable[Row], after: Iterable[Row]) -> list[Cell]:
    """Every problem and method of either side, on the logs that both have."""
    sides = [_by_method(before), _by_method(after)]
    cells = []
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        found = [side.get(name, []) for side in sides]
        if all(found):
            seeds = set.intersection(*({row["seed"] for row in rows} for rows in found))
            found = [[row for row in rows if row["seed"] in seeds] for rows in found]
        first, last = (next(iter(best_settings(rows)), None) for rows in found)
        error = math.nan
        if first and last:
            error = _standard_error(_scores(found[0], first), _scores(found[1], last))
        cells.append(Cell(*name, first, last, error))
    return cells


def _by_method(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["method"].startswith("ours"):
            groups[row["problem"], row["method"]].append(row)
    return dict(groups)


def _scores(rows: Iterable[Row], best: Row) -> dict[Any, float]:
    return {r["seed"]: r["score"] for r in rows if r["setting"] == best["setting"]}


def _standard_error(before: Mapping[Any, float], after: Mapping[Any, float]) -> float:
    """Of the mean difference, log by log."""
    apart = [after[seed] - before[seed] for seed in before.keys() & after.keys()]
    return (
        statistics.stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else math.nan
    )


def read(table: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table, larger scores the better."""
    path = folder / f"{table}.jsonl"
    for row in Rows(table, folder, resume=True) if path.exists() else ():
        row = {"cpu_seconds": 0.0, **row}
        if table in LINES:
            line = f"{row['problem']}, {setting_text(row['setting'])}"
            row |= {"problem": line, "setting": {}}
        if table in DISTANCES:
            row |= {"score": -row["score"], "cpu_seconds": sum(row["seconds"])}
        yield row


def report(table: str, cells: Iterable[Cell]) -> str:
    """A line a problem and method."""
    headings = ["log", "method", "before", "after", "difference", "fit, s", "logs"]
    headings += ["worse by more than its spread"]
    lines = []
    for cell in cells:
        both = [side for side in (cell.before, cell.after) if side]
        difference = f"{cell.difference:+.3g} ± {cell.error:.2g}"
        lines.append(
            [
                cell.problem,
                cell.method,
                *map(_score, (cell.before, cell.after)),
                difference if len(both) == 2 else "–",
                " / ".join(f"{side['seconds']:.2f}" for side in both),
                min(side["n"] for side in both),
                "WORSE" if cell.worse else "no" if len(both) == 2 else "–",
            ]
        )
    title = f"{table}" + ": minus the distance" * (table in DISTANCES)
    return f"### {title}\n\n" + markdown(headings, lines)


def _score(side: Mapping[str, Any] | None) -> str:
    if side is None:
        return "–"
    text = f"{side['mean']:.4g} ± {side['sd']:.2g}"
    return text + (f" ({setting_text(side['setting'])})" if side["setting"] else "")


def run(
    root: Path, folder: Path, tables: Sequence[str], seeds: int | None
) -> list[str]:
    """Our side of the tables with the code of a checkout; returns those that failed."""
    command = [sys.executable, "-m", "benchmarks", "--here", "--side", "ours"]
    command += ["--resume", "--results", str(folder)]
    command += ["--seeds", str(seeds)] if seeds else []
    environment = threads(1) | {"PYTHONPATH": str(root)}
    start = partial(subprocess.run, cwd=root, env=environment, stdout=sys.stderr)
    return [name for name in tables if start([*command, name]).returncode]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks compare",
        description="Compare our scores with those of another revision.",
    )
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}"
    )
    parser.add_argument("--revision", required=True, help="of git, to compare with")
    parser.add_argument("--seeds", type=int, help="how many logs")
    parser.add_argument(
        "--stored",
        action="store_true",
        help="take the rows that REVISION has in benchmarks/results, without a run",
    )
    parser.add_argument(
        "--results",
        type=Path,
        help="keep both sides' rows in this folder, and go on from those there",
    )
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.tables) - set(TABLES))
    if unknown:
        parser.error(f"{unknown} cannot be compared; {list(TABLES)} can")
    options.tables = options.tables or list(TABLES)
    return options


def main(arguments: Sequence[str]) -> int:
    """Compare; 0 if every table ran and no cell is worse by more than its spread."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        results = (options.results or folder / "results").resolve()
        with checkout(options.revision, folder) as old, ThreadPoolExecutor() as pool:
            before, after = results / "before", results / "after"
            if options.stored:
                before = folder / "stored"
                (old / "benchmarks" / "results").rename(before)
            one = partial(run, tables=options.tables, seeds=options.seeds)
            runs = [pool.submit(one, ROOT, after)]
            if not options.stored:
                runs.append(pool.submit(one, old, before))
            failed = [table for run in runs for table in run.result()]
        cells: list[Cell] = []
        for table in options.tables:
            found = compare(read(table, before), read(table, after))
            print(report(table, found) + "\n", flush=True)
            cells += found
    for table in failed:
        print(f"{table} failed on one side; see above.")
    worse = [f"{cell.problem}, {cell.method}" for cell in cells if cell.worse]
    print(f"{len(worse)} of {len(cells)} cells are worse by more than their spread.")
    return 1 if failed or worse else 0
