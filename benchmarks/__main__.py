"""The commands of the benchmarks.

``python -m benchmarks [TABLE ...]`` prints tables; ``python -m benchmarks unchanged
--revision REV`` compares all numbers with those of another revision, ``compare
--revision REV`` our scores; ``python -m benchmarks house`` prints the figures that the
source tree is held to.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.environment import FOLDER, enter

TABLES = (
    "frozen_lake",
    "control",
    "networks",
    "cartpole_default",
    "history",
    "pendulum",
    "continuous_lq",
    "doses",
    "total_derivative",
    "stochastic",
    "scaling",
    "throughput",
    "dask",
    "out_of_core",
    "reading",
    "predict",
    "features",
    "units",
    "families",
    "support",
    "kernel_choice",
    "experiments",
    "suite",
    "rollouts",
    "ope_peers",
    "intervals",
    "search",
    "search_cv",
    "residual_features",
    "floors",
    "held_out",
    "learned_values",
    "policy_column",
    "trees",
    "graphs",
    "residuals",
    "censoring",
    "differences",
    "ranks",
    "published",
    "gpu",
    "two_stages",
    "irregular_times",
    "icu_sepsis",
)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Ours and the peers' figures, single-threaded, in one run.",
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument(
        "--here", action="store_true", help="use the current interpreter"
    )
    parser.add_argument(
        "--side", choices=("both", "ours", "peers"), default="both", help="who runs"
    )
    parser.add_argument(
        "--seeds", "--logs", type=int, help="how many logs (default: the table's)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep the rows of an earlier run"
    )
    parser.add_argument(
        "--problems", help="only those whose names hold this, or one of A|B"
    )
    parser.add_argument(
        "--half", choices=("choose", "evaluate"), help="which problems of the suite"
    )
    parser.add_argument("--methods", help="only those of these names, A|B")
    parser.add_argument(
        "--only", metavar="NAME", help="one of the experiments, or A|B; keeps rows"
    )
    parser.add_argument(
        "--pictures",
        action="store_const",
        const=True,
        help="draw those of the experiments by stored rows, and compute nothing",
    )
    parser.add_argument(
        "--part",
        type=_part,
        metavar="K/N",
        help="the K-th of N processes that share the logs of a table; keeps rows",
    )
    parser.add_argument(
        "--results", type=Path, default=FOLDER / "results", help="where rows are saved"
    )
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.tables) - set(TABLES))
    if unknown:
        parser.error(f"no table is called {unknown}; there are {list(TABLES)}")
    options.tables = options.tables or list(TABLES)
    return options


def _part(text: str) -> tuple[int, int]:
    """``"1/2"`` as (0, 2)."""
    which, n_parts = map(int, text.split("/"))
    if not 1 <= which <= n_parts:
        raise argparse.ArgumentTypeError(f"expected K/N with 1 <= K <= N, got {text}")
    return which - 1, n_parts


def main(arguments: list[str]) -> None:
    """Run the named tables, all of them by default."""
    if arguments[:1] == ["unchanged"]:
        # In the current interpreter: both sides are ours.
        from benchmarks.unchanged import main as unchanged

        raise SystemExit(unchanged(arguments[1:]))
    if arguments[:1] == ["compare"]:
        from benchmarks.compare import main as compare

        raise SystemExit(compare(arguments[1:]))
    if arguments[:1] == ["house"]:
        from benchmarks.house import main as house

        raise SystemExit(house(arguments[1:]))
    options = parse(arguments)
    enter(arguments, options.here)
    import torch

    torch.set_num_threads(1)
    from benchmarks.report import Rows

    # Not every table can do a part of its problems or of its logs.
    given = ("problems", "part", "half", "methods", "only", "pictures")
    chosen = {name: getattr(options, name) for name in given}
    chosen = {name: one for name, one in chosen.items() if one is not None}
    for name in options.tables:
        table = importlib.import_module(f"benchmarks.tables.{name}")
        # Processes that share a table must not empty it, nor a part of it the rest.
        keep = options.resume or not {"part", "only", "pictures"}.isdisjoint(chosen)
        rows = Rows(name, options.results, keep)
        rows.publish(table.run(rows, side=options.side, seeds=options.seeds, **chosen))


if __name__ == "__main__":
    main(sys.argv[1:])
