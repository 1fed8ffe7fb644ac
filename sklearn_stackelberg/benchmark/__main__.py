"""``python -m sklearn_stackelberg.benchmark log.csv --state ... --action ...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..transitions._sources import check_known
from ..transitions._tables import column_names
from ..transitions._transitions import Transitions
from ._compare import compare_methods
from ._methods import known_methods
from ._results import MethodComparison, caption_of

# What stands for a missing value in a file. "none" and "None" may be an action.
_MISSING = ["", "NA", "NaN", "nan", "NULL", "null"]

_OTHER_ROLES = ("truncated", "propensity", "duration", "weight")

_SUFFIXES = {".md": "markdown", ".tex": "latex", ".csv": "csv"}


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str
        Without the name of the program.

    Returns
    -------
    int
        0 if a table was made; 2 if not, with a sentence on the standard error stream.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list_methods:
        print(_list_of_methods())
        return 0
    try:
        log = _read(options)
        found = compare_methods(
            log,
            methods=options.methods or "installed",
            discount=_discount(options, log),
            cv=options.folds,
            estimator=options.estimator,
            simultaneous=not options.each_alone,
            confidence_level=options.level,
            action_type=options.action_type,
            random_state=options.seed,
            verbose=1,
        )
    # A sentence each; a trace would say less.
    except (ValueError, TypeError, ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in caption_of(found.skipped):
        print(f"not run: {line}", file=sys.stderr)
    text = _formatted(found, options)
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
        print(f"written: {options.out}", file=sys.stderr)
    return 0


def _formatted(found: MethodComparison, options: argparse.Namespace) -> str:
    kind = options.format
    if kind is None:
        suffix = "" if options.out is None else options.out.suffix.lower()
        kind = _SUFFIXES.get(suffix, "markdown")
    made = {
        "markdown": found.to_markdown,
        "latex": found.to_latex,
        "csv": found.to_csv,
        "text": found.__str__,
    }
    return made[kind]()


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sklearn_stackelberg.benchmark",
        description="Compare every method that is installed on a log of decisions: "
        "held-out value with interval, difference to the logger, seconds, memory.",
        epilog="Picking the best of the table is a choice as well; the intervals of a "
        "column hold all at once, unless --each-alone.",
    )
    log = parser.add_argument_group("the log, by its columns")
    log.add_argument(
        "log", type=Path, nargs="?", help="a CSV (.csv, .csv.gz) or Parquet file"
    )
    log.add_argument("--state", type=_names, metavar="A,B", help="what is known")
    log.add_argument(
        "--action", type=_names, metavar="A", help="what was done; A,B if several"
    )
    log.add_argument("--reward", metavar="R", help="what followed; larger is better")
    log.add_argument(
        "--episode", metavar="E", help="the patient or run; without it a row is one"
    )
    log.add_argument(
        "--step", metavar="T", help="order in the episode; default: of the rows"
    )
    log.add_argument("--terminated", metavar="D", help="True where it ended for good")
    log.add_argument(
        "--episodes-end",
        action="store_true",
        help="every episode ended for good with its last row",
    )
    for name in _OTHER_ROLES:
        log.add_argument(f"--{name}", metavar="C", help="as in Transitions.from_frame")
    how = parser.add_argument_group("the comparison")
    how.add_argument("--methods", type=_names, metavar="M,N", help="default: all")
    how.add_argument("--list-methods", action="store_true", help="name them and stop")
    how.add_argument(
        "--discount",
        type=float,
        metavar="G",
        help="default: 0.99, or 0 where each episode is one row",
    )
    how.add_argument("--folds", type=int, default=3, metavar="K", help="of episodes")
    how.add_argument(
        "--estimator",
        choices=["doubly_robust", "fitted_q"],
        default="doubly_robust",
    )
    how.add_argument("--level", type=float, default=0.95, help="of the intervals")
    how.add_argument(
        "--each-alone",
        action="store_true",
        help="intervals that hold each by itself",
    )
    how.add_argument(
        "--action-type",
        choices=["auto", "discrete", "continuous"],
        default="auto",
    )
    how.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    out = parser.add_argument_group("the table")
    out.add_argument("--format", choices=["markdown", "latex", "csv", "text"])
    out.add_argument("--out", type=Path, metavar="FILE", help="default: printed")
    return parser


def _list_of_methods() -> str:
    lines = []
    for one in known_methods():
        missing = "" if one.is_installed else f"  (needs {one.package})"
        lines.append(f"{one.key:24}{one.name}{missing}")
    return "\n".join(lines)


def _read(options: argparse.Namespace) -> Transitions:
    """The log that the options describe."""
    needed = ("log", "state", "action", "reward")
    missing = [name for name in needed if not getattr(options, name)]
    if missing:
        raise ValueError(
            f"{', '.join(m if m == 'log' else f'--{m}' for m in missing)} is missing. "
            "Say what the columns are: python -m sklearn_stackelberg.benchmark log.csv "
            "--state age,bmi --action treatment --reward outcome --episode patient"
        )
    if options.out is not None and not options.out.absolute().parent.is_dir():
        # Before minutes are spent on what cannot be kept.
        raise ValueError(f"--out: there is no folder {options.out.parent}.")
    frame = _table(options.log)
    # Each of its own name, so that a wrong one is found before any is read.
    roles = ("reward", "episode", "step", "terminated", *_OTHER_ROLES)
    named = {role: getattr(options, role) for role in roles}
    given = {role: name for role, name in named.items() if name is not None}
    columns = [*options.state, *options.action, *given.values()]
    check_known([*column_names(frame)], columns)
    return _linked(frame, options, given)


def _table(path: Path) -> Any:
    """A DataFrame of pandas, or of polars where there is no pandas."""
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    is_csv = suffixes[-1:] == [".csv"] or suffixes[-2:] == [".csv", ".gz"]
    if not is_csv and suffixes[-1:] not in ([".parquet"], [".pq"]):
        raise ValueError(
            f"{path.name} is neither a CSV (.csv, .csv.gz) nor a Parquet file "
            "(.parquet, .pq). Write the log as one of them."
        )
    try:
        import pandas as pd
    except ImportError:
        return _polars_table(path, is_csv)
    if not is_csv:
        return pd.read_parquet(path)
    return pd.read_csv(path, keep_default_na=False, na_values=_MISSING)


def _polars_table(path: Path, is_csv: bool) -> Any:
    try:
        import polars as pl
    except ImportError as error:
        raise ImportError(
            "Reading a table needs pandas or polars: pip install pandas"
        ) from error
    return pl.read_csv(path, null_values=_MISSING) if is_csv else pl.read_parquet(path)


def _linked(
    frame: Any, options: argparse.Namespace, given: dict[str, str]
) -> Transitions:
    """The decisions of a table, each with what followed."""
    action = options.action if len(options.action) > 1 else options.action[0]
    state = options.state
    if options.episodes_end and "terminated" in given:
        raise ValueError(
            "--episodes-end and --terminated both say where episodes end; give one."
        )
    frame, extra = _with_ends(frame, options, given)
    return Transitions.from_frame(
        frame, state=state, action=action, **{**given, **extra}
    )


def _with_ends(
    frame: Any, options: argparse.Namespace, given: dict[str, str]
) -> tuple[Any, dict[str, str]]:
    """Columns for what the table does not have: a row's number, and ends."""
    import narwhals.stable.v2 as nw
    import numpy as np

    table = nw.from_native(frame, eager_only=True)
    n, extra = len(table), {}
    new: dict[str, Any] = {}
    if "episode" not in given:
        extra["episode"] = _unused("row", table.columns)
        new[extra["episode"]] = np.arange(n)
    episode = np.arange(n) if "episode" in extra else table[given["episode"]].to_numpy()
    one_row = len(set(episode.tolist())) == n
    if "terminated" not in given and (one_row or options.episodes_end):
        extra["terminated"] = _unused("ends", table.columns)
        new[extra["terminated"]] = _last_rows(table, episode, given.get("step"))
    if not new:
        return frame, extra
    series = [
        nw.new_series(name, values.tolist(), backend=table.implementation)
        for name, values in new.items()
    ]
    return table.with_columns(*series).to_native(), extra


def _unused(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _last_rows(table: Any, episode: Any, step: str | None) -> Any:
    """Where each episode has its last row, (n,)."""
    import numpy as np

    n = len(episode)
    order = np.arange(n)
    if step is not None:
        order = np.argsort(table[step].to_numpy(), kind="stable")
    last = {episode[row]: row for row in order.tolist()}
    out = np.zeros(n, dtype=bool)
    out[[*last.values()]] = True
    return out


def _discount(options: argparse.Namespace, log: Transitions) -> float:
    if options.discount is not None:
        return float(options.discount)
    one_step = log.terminated.all() and len(set(log.episode.tolist())) == len(log)
    return 0.0 if one_step else 0.99


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
