"""What a coverage report says, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .nodes import Floats

# Rows that a warning names; the report has them all.
_NAMED_ROWS = 5


@dataclass(frozen=True, eq=False)
class CoverageReport:
    """What a policy's value rests on; ``str`` of it says so in sentences.

    Parameters
    ----------
    value : float
        Value of the policy by `fitted_q_value`, in units of discounted return.
    row : int array of shape (n,)
        The rows of the given X (by position, from 0) that are transitions.
    ratio : array of shape (n,)
        Density ratio of each: how often the policy would come to this state and take
        this action, discounted, over how often the log did. Their average is 1. Where
        all are 0, the log holds nothing of what the policy does.
    support : array of shape (n, A)
        How many logged rows there are near the row's state, for each action; for each
        of the policy's nodes where actions are continuous.
    effective_rows : float
        (Σ ω)² / Σ ω² of the ratios: the number of equally weighted rows that would
        tell as much. Larger is better.
    effective_episodes : float or None
        The same of the sums over episodes. None if the log does not tell episodes.
    n_rows, n_episodes : int
        What the log holds; without episodes each row counts as one.
    top_rows : list of dict
        The rows that weigh most, heaviest first: ``row``, ``episode`` and ``step``
        where the log has them, ``action``, ``probability`` (the policy's, of that
        action; not where actions are continuous), ``ratio`` and ``share`` of the whole
        weight Σ |ω|.
    top_episodes : list of dict
        The episodes that weigh most: ``episode``, ``n_rows`` and ``share``.
    share_unseen : float
        Of what the policy would do where it would be, the share that was never logged
        near the state.
    share_unseen_logged : float
        The same at the logged states as often as they were logged.
    share_followed : float
        Share of the policy's discounted visits that the rows account for. One that
        leaves the log at its first step has 0, whatever it would have done later;
        ratios that account for too much, as smooth features may, lower it as well. The
        rest of the value is not from the log.
    concerns : list of str
        What the warnings said; empty if there is nothing to warn of.
    """

    value: float
    row: NDArray[np.intp]
    ratio: Floats
    support: Floats
    effective_rows: float
    effective_episodes: float | None
    n_rows: int
    n_episodes: int
    top_rows: list[dict[str, Any]]
    top_episodes: list[dict[str, Any]]
    share_unseen: float
    share_unseen_logged: float
    share_followed: float
    concerns: list[str]

    @property
    def effective_share(self) -> float:
        """Effective rows as a share of the rows."""
        return self.effective_rows / self.n_rows

    def to_frame(self) -> Any:
        """The heaviest rows as a DataFrame, which needs pandas."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame needs pandas. Install it (python -m pip install pandas), or "
                "read top_rows."
            ) from error
        return pd.DataFrame(self.top_rows)

    def __str__(self) -> str:
        episodes = self.effective_episodes is not None
        inside = f" in {self.n_episodes:,} episodes" if episodes else ""
        rests = f"{self.effective_rows:,.1f} rows ({_percent(self.effective_share)})"
        if self.effective_episodes is not None:
            rests += f" and {self.effective_episodes:,.1f} episodes"
        heavy = f"The {len(self.top_rows)} heaviest rows carry "
        heavy += f"{_percent(_sum_shares(self.top_rows))} of its weight"
        if episodes:
            heavy += f", the {len(self.top_episodes)} heaviest episodes "
            heavy += _percent(_sum_shares(self.top_episodes))
        lines = [
            f"Coverage by {self.n_rows:,} logged rows{inside}.",
            f"The policy's value of {self.value:.4g} rests on as much as {rests} of "
            f"equal weight. {heavy}.",
            f"Of what the policy would do, {_percent(self.share_unseen)} was never "
            "logged near the state where it would do it (at the logged states: "
            f"{_percent(self.share_unseen_logged)}). The log accounts for "
            f"{_percent(self.share_followed)} of its discounted visits.",
        ]
        return "\n".join([*lines, *(f"Warning: {text}" for text in self.concerns)])


def concerns_of(report: CoverageReport, limits: dict[str, float]) -> list[str]:
    """What to warn of."""
    rows, episodes = report.effective_rows, report.effective_episodes
    out = []
    if not report.top_rows:
        return [
            "The value rests on no row: the log holds nothing of what the policy does "
            "from the initial states on. Judge a policy nearer to the logged one, or "
            "by a log that has its actions."
        ]
    few_rows = rows < limits["min_effective_rows"]
    if few_rows or (
        episodes is not None and episodes < limits["min_effective_episodes"]
    ):
        counts, asked = f"{rows:,.1f} rows", f"{limits['min_effective_rows']:g}"
        if episodes is not None:
            counts += f" and {episodes:,.1f} episodes"
            asked += f" and {limits['min_effective_episodes']:g}"
        named = "; ".join(_named(row) for row in report.top_rows[:_NAMED_ROWS])
        out.append(
            f"The value rests on a handful of {'rows' if few_rows else 'episodes'}: on "
            f"as much as {counts} of equal weight, where at least {asked} were "
            f"expected. The heaviest rows: {named}. What they show may be chance: look "
            "at them, log more of their kind, or judge a policy nearer to the logged "
            "one (a smaller lam)."
        )
    if report.share_followed < limits["min_followed"]:
        out.append(
            f"The logged rows account for {_percent(report.share_followed)} of the "
            "policy's discounted visits, and the rest of the value is not from the "
            "log: the policy soon leaves for what was never logged. Judge a policy "
            "nearer to the logged one (a smaller lam)."
        )
    return out


def _named(row: dict[str, Any]) -> str:
    told = [f"{name} {row[name]}" for name in ("episode", "step") if name in row]
    told.append(f"action {_action(row)}")
    share = _percent(row["share"])
    return f"row {row['row']} ({', '.join(told)}: {share} of the weight)"


def _action(row: dict[str, Any]) -> str:
    """A label as it is, amounts with the figures that matter."""
    if "probability" in row:
        return repr(row["action"])
    amounts = ", ".join(f"{amount:.4g}" for amount in np.ravel(row["action"]))
    return f"({amounts})" if np.ndim(row["action"]) else amounts


def _sum_shares(table: list[dict[str, Any]]) -> float:
    return sum(line["share"] for line in table)


def _percent(share: float) -> str:
    """A share in percent, such that little is not nothing, and most is not all."""
    percent = 100.0 * share
    if 0.005 < percent < 0.5:
        return "under 1 %"
    if 99.5 <= percent < 99.95:
        return "over 99 %"
    return f"{percent:.0f} %"
