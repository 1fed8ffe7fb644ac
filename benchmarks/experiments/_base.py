"""What an experiment is made of, and what several of them share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from sklearn.base import BaseEstimator

from benchmarks.families.problem import Array, Finite
from benchmarks.report import Rows, markdown
from sklearn_stackelberg.benchmark._methods import known_methods

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
OURS, LOGGER = "Stackelberg", "logger"
FREE = f"{OURS}, support 0"  # an action needs no rows near the state
_MAKE = {method.name: method.make for method in known_methods()}


@dataclass(frozen=True)
class Task:
    """One row: its key, and what computes it."""

    problem: str
    seed: int
    method: str
    compute: Callable[[], Mapping[str, Any]]
    setting: Mapping[str, Any]


class Experiment(Protocol):
    """A module of this package.

    `tasks` are the rows to compute, on `N_LOGS` logs or on the number given; `table`
    and `picture` are made of stored rows alone.
    """

    N_LOGS: int

    def tasks(self, n_logs: int) -> Iterator[Task]: ...

    def table(self, rows: Sequence[Row]) -> str: ...

    def picture(self, rows: Sequence[Row]) -> Figure: ...


def compute(rows: Rows, name: str, tasks: Iterable[Task]) -> None:
    """Compute the rows that are not stored yet."""
    for task in tasks:
        key = {"problem": f"{name}: {task.problem}", "seed": task.seed}
        key |= {"method": task.method, "setting": dict(task.setting)}
        rows.once(key, task.compute)


def stored(rows: Iterable[Row], name: str) -> list[dict[str, Any]]:
    """The rows of an experiment, their problems without its name."""
    start = f"{name}: "
    return [
        {**row, "problem": row["problem"].removeprefix(start)}
        for row in rows
        if row["problem"].startswith(start)
    ]


def made(name: str, discount: float, seed: int, **parameters: Any) -> BaseEstimator:
    """A method of the package's comparison, by its name there."""
    kind = parameters.pop("action_type", "discrete")
    return _MAKE[name](discount, seed, kind).set_params(**parameters)


def logged_by(problem: Finite, logger: Array, n_transitions: int) -> Finite:
    """The same process, logged by another policy and at another length."""
    return Finite(
        problem.name,
        problem.discount,
        problem.mdp,
        problem.codes,
        logger,
        n_transitions,
        problem.horizon,
        noise=problem.noise,
    )


def uniform(problem: Finite) -> Array:
    """Every action as often, in every state, (n_states, n_actions)."""
    return np.full(problem.logger.shape, 1.0 / problem.logger.shape[1])


def share(problem: Finite, value: float) -> float:
    """How far a value is from that of random actions (0) to the optimum (1)."""
    lowest = float(problem.mdp.policy_value(uniform(problem), problem.discount))
    return (value - lowest) / (problem.optimum - lowest)


def scores(rows: Iterable[Row], *names: str) -> dict[tuple[Any, ...], Array]:
    """Scores of all logs, by columns of the row or of its setting.

    Where a method has several settings of which `names` says nothing, it has the one of
    the highest mean.
    """
    found: dict[tuple[Any, ...], dict[str, list[float]]] = defaultdict(dict)
    for row in rows:
        every = {**row, **row["setting"]}
        key = tuple(every.get(name) for name in names)
        rest = {k: v for k, v in row["setting"].items() if k not in names}
        found[key].setdefault(repr(sorted(rest.items())), []).append(row["score"])
    return {
        key: np.array(max(groups.values(), key=lambda each: float(np.mean(each))))
        for key, groups in found.items()
    }


def spread(values: Array, digits: int = 2) -> str:
    """Mean and standard deviation over the logs, in a table's cell."""
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"


def cells(
    found: Mapping[tuple[Any, ...], Array],
    lines: Sequence[tuple[Any, ...]],
    columns: Sequence[Any],
    digits: int = 2,
) -> list[list[str]]:
    """A line for each first part of a key, a cell for each last part."""
    return [
        [
            *map(str, line),
            *(
                spread(found[*line, column], digits)
                if (*line, column) in found
                else "–"
                for column in columns
            ),
        ]
        for line in lines
    ]


def level_table(
    rows: Sequence[Row],
    what: str,
    names: Sequence[str],
    text: Callable[[Any], str] = str,
    digits: int = 2,
) -> str:
    """Problems and methods in lines, the levels of a setting in columns."""
    found = scores(rows, "problem", "method", what)
    levels = sorted({key[2] for key in found})
    lines = [(p, m) for p in dict.fromkeys(key[0] for key in found) for m in names]
    lines = [line for line in lines if any((*line, level) in found for level in levels)]
    return markdown(
        ["problem", "method", *map(text, levels)], cells(found, lines, levels, digits)
    )
