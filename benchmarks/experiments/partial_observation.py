"""A process seen in part: CartPole without velocities, with and without a history.

The state is the last k observations of both positions and the actions between them,
as `Transitions.with_history` and `HistoryStates` make it. The table `history` has one
k and more rows; here k varies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.experiments._base import OURS, Row, Task, scores, spread
from benchmarks.problems import CARTPOLE_DEFAULT
from benchmarks.report import markdown
from benchmarks.tables.history import POSITIONS, score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_LOGS, FIRST_SEED = 3, 100  # no log of the table `history`
LOGGED = replace(
    CARTPOLE_DEFAULT, name="CartPole, positions alone", n_transitions=10_000
)
HISTORIES = (1, 2, 3, 5)
FULL = "CartPole, full state"


def tasks(n_logs: int) -> Iterator[Task]:
    """Every length of history on every log, and the full state."""
    for seed in range(FIRST_SEED, FIRST_SEED + n_logs):
        for k in HISTORIES:
            run = partial(score, LOGGED, seed, POSITIONS, k)
            yield Task(LOGGED.name, seed, OURS, run, {"k": k})
        run = partial(score, LOGGED, seed, [0, 1, 2, 3], 1)
        yield Task(FULL, seed, OURS, run, {"k": 1})


def table(rows: Sequence[Row]) -> str:
    """A line for each length of history."""
    lines = []
    for (problem, k), values in scores(rows, "problem", "k").items():
        seen = "full state" if problem == FULL else f"last {k} of positions"
        seen = "positions alone" if (problem, k) == (LOGGED.name, 1) else seen
        lines.append([seen, spread(values, 1), f"{values.min():.1f}", len(values)])
    return (
        "Return of 30 episodes, 500 at most; mean ± standard deviation over the "
        "logs.\n\n" + markdown(["state", "mean return", "worst log", "logs"], lines)
    )


def picture(rows: Sequence[Row]) -> Figure:
    """Returns by the length of the history, and the full state's."""
    from benchmarks.experiments._drawing import marks, panels

    found = {}
    for (problem, k), values in scores(rows, "problem", "k").items():
        group = "full state" if problem == FULL else f"last {k}"
        group = "positions\nalone" if (problem, k) == (LOGGED.name, 1) else group
        found[OURS, group] = values
    figure, (axes,) = panels(1, 6.0, 3.2)
    groups = [group for _, group in found if group != "full state"]
    marks(axes, found, [OURS], [*groups, "full state"])
    axes.axhline(500.0, color="black", lw=0.9)
    axes.set(ylabel="return of an episode", ylim=(0, 520), xlabel="what a policy sees")
    return figure
