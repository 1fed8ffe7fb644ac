"""How much of what a policy would do a log supports."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._typing import Floats, Index, RandomStateLike
from .._validation import check_discount, check_rules, integer, non_negative
from ..kernels._registry import KernelLike
from ..metrics._data import EvaluationData
from ..metrics._estimate import effective_size
from ..metrics._forest_q import disagreement
from ..metrics._holdout import fitted_q
from ..metrics._prepare import prepare_evaluation
from ..metrics._residual_check import ResidualCheck, residual_check
from ..metrics._settings import QSettings
from ..metrics._unsupported import support_counts, unsupported_share
from ..transitions._time import refuse_endless
from ._page import Section, section_html


def coverage_report(
    policy: object,
    X: object,
    y: ArrayLike | None = None,
    *,
    discount: float,
    sample_weight: ArrayLike | None = None,
    greedy: bool = False,
    n_rows: int = 10,
    min_rows: float = 1.0,
    min_effective_rows: float = 30.0,
    min_effective_episodes: float = 10.0,
    min_followed: float = 0.5,
    max_unsupported: float = 0.1,
    kernel: KernelLike = "auto",
    bandwidth: ArrayLike = "median",
    n_components: int | None = 200,
    ridge: float = 0.03,
    random_state: RandomStateLike = 0,
) -> CoverageReport:
    """Report how much of what a policy would do a log supports.

    From the equations of `fitted_q_value`, one fit: their dual gives the density ratios
    ω_i with value = Σ_i ω_i r_i / n, that is which rows the value is made of. An action
    a is seen near a state s as often as

        N_a(s) = k / (k − ‖φ‖² + φᵀ (Σ_{i: a_i = a} φ_i φ_iᵀ / k + I)⁻¹ φ) − 1,

    k = k(s, s): the number of rows at s itself from which as much could be learned of
    Q(s, a) as from all rows of that action. With ``kernel="delta"`` it is
    the count of (s, a). Where the policy would be is known by its flow along the log:
    the first states, and the next state of each row γ ω_i times.
    Of continuous actions, N(s, a) counts the logged pairs near (s, a), and what the
    policy would do are its nodes.

    Parameters
    ----------
    policy, X, y, discount, sample_weight, greedy
        As in `metrics.fitted_q_value`.
    n_rows : int, default=10
        How many of the heaviest rows, and episodes, to list.
    min_rows : float, default=1.0
        An action seen less often near a state counts as never logged there. Larger is
        stricter.
    min_effective_rows : float, default=30.0
        A value that rests on fewer, as if of equal weight, is warned of; 0 never warns.
    min_effective_episodes : float, default=10.0
        The same of episodes.
    min_followed : float, default=0.5
        Smallest ``share_followed`` that is not warned of.
    max_unsupported : float, default=0.1
        Largest ``unsupported_share`` that is not warned of.
    kernel, bandwidth, n_components, ridge, random_state
        As in `metrics.fitted_q_value`.

    Returns
    -------
    CoverageReport

    Raises
    ------
    ValueError
        As `metrics.fitted_q_value`, or if a count or limit is out of range.

    Warns
    -----
    UserWarning
        If the value rests on a handful of rows or episodes, of which the heaviest are
        named, or for the most part on nothing that was logged; or if the states do not
        hold all that matters (see ``residuals``).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> from sklearn_stackelberg.inspection import coverage_report
    >>> state, action = np.zeros((120, 1)), np.tile([0, 1], 60)
    >>> log = Transitions(state, action, action, state, terminated=np.ones(120))
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
    >>> report = coverage_report(policy, log, discount=0.0, greedy=True, n_rows=3)
    >>> print(report)
    Coverage by 120 logged rows.
    The policy's value rests on no more than 60.0 rows (50 %) of equal weight. The 3
    heaviest rows carry 5 % of its weight.
    Of what the policy would do, 0 % was never logged near the state where it would do
    it (at the logged states: 0 %). The log accounts for 100 % of its discounted visits.
    Up to 0 % of its value, after actions that the log does not support, is unknown.
    """
    check_discount(discount)
    settings = QSettings(kernel, bandwidth, n_components, ridge, random_state)
    limits = {
        "min_rows": min_rows,
        "min_effective_rows": min_effective_rows,
        "min_effective_episodes": min_effective_episodes,
        "min_followed": min_followed,
        "max_unsupported": max_unsupported,
    }
    check_rules(limits, dict.fromkeys(limits, non_negative()))
    check_rules({"n_rows": n_rows}, {"n_rows": integer(1)})
    data = prepare_evaluation(policy, X, y, sample_weight=sample_weight, greedy=greedy)
    refuse_endless(data.log, discount)
    data = data.by_steps(discount)
    fit = fitted_q(data, discount, settings)
    counted = fit.system.by_counts()
    ratio = fit.ratio if counted is fit.system else counted.solve().ratio
    mass = data.weight * ratio
    total = float(mass.sum())
    # Smooth features leave the dual some negative mass; more of it than of the other
    # would be no distribution of visits at all.
    mass = mass / total if total > 0 else np.zeros_like(mass)
    by_episode = np.bincount(data.episode, mass, data.n_episodes)
    support = support_counts(fit.system.features)
    # What lacks a rounding error of enough is enough.
    lacking = support < min_rows * (1 - 1e-6)
    unseen = (data.probabilities * lacking).sum(axis=1)  # (N,)
    # How often the policy comes to each of ``states``, discounted, (N,): b + γ Σ p ω g
    # of the next states; a negative ω is an artefact of smooth features.
    carried = data.carried(discount)
    moved = data.weight * carried * np.maximum(ratio, 0.0)
    visits = np.bincount(data.initial_state, data.initial_weight, len(data.states))
    visits += np.bincount(data.next_index, moved, len(data.states))
    # Of walks that stop with probability 1 − γ a step, those that stop in the log: 1,
    # but for what is lost. A walk that leaves the log adds to neither side, and one
    # that the smooth ratios count twice adds twice: both are not accounted for.
    stops = data.weight * ratio @ (1.0 - carried)
    share, (low, high) = unsupported_share(counted), data.return_range(discount)
    trees = disagreement([fit.system], fit.value, fit.contributions)
    report = CoverageReport(
        value=fit.value,
        row=data.rows,
        ratio=mass / data.weight,
        support=support[data.state_index],
        effective_rows=effective_size(mass),
        effective_episodes=effective_size(by_episode) if data.has_episodes else None,
        n_rows=len(data),
        n_episodes=data.n_episodes,
        top_rows=_heaviest_rows(data, mass, n_rows),
        top_episodes=_heaviest_episodes(data, mass, n_rows),
        share_unseen=float(visits @ unseen / visits.sum()),
        share_unseen_logged=float(data.weight @ unseen[data.state_index]),
        share_followed=max(0.0, 1.0 - abs(1.0 - float(stops))),
        unsupported_share=share,
        bias_bound=share * (high - low) + trees.bound,
        residuals=residual_check(fit),
        warnings=[],
    )
    found = [UserWarning(text) for text in coverage_warnings(report, limits)]
    found += trees.notes
    if report.residuals is not None:
        found += report.residuals.warnings
    for warning in found:
        report.warnings.append(str(warning))
        warnings.warn(warning, stacklevel=2)
    return report


def _heaviest(weight: NDArray[Any], most: int) -> Index:
    """Places of the largest weights that are not 0."""
    # Stable: those of equal weight are named in the order of the log.
    chosen = np.argsort(-weight, kind="stable")[:most]
    return chosen[weight[chosen] > 0]


def _heaviest_rows(
    data: EvaluationData, mass: Floats, n_rows: int
) -> list[dict[str, Any]]:
    weight, ratio = _share(mass), mass / data.weight
    log, out = data.log, []
    for i in _heaviest(weight, n_rows):
        row: dict[str, Any] = {"row": int(data.rows[i])}
        for name in ("episode", "step", "action"):
            if getattr(log, name) is not None:
                # A Python value, such as JSON takes.
                row[name] = getattr(log, name)[i : i + 1].tolist()[0]
        if not data.is_continuous:  # continuous actions have densities
            row["probability"] = float(data.logged_probability[i])
        out.append(row | {"ratio": float(ratio[i]), "share": float(weight[i])})
    return out


def _heaviest_episodes(
    data: EvaluationData, mass: Floats, most: int
) -> list[dict[str, Any]]:
    if data.log.episode is None:
        return []
    _, first, counts = np.unique(data.episode, return_index=True, return_counts=True)
    weight = np.bincount(data.episode, _share(mass))
    names = data.log.episode[first].tolist()
    return [
        {"episode": names[e], "n_rows": int(counts[e]), "share": float(weight[e])}
        for e in _heaviest(weight, most)
    ]


def _share(mass: Floats) -> Floats:
    """|p ω| over its sum; 0 where there is none."""
    # A row of negative weight moves the value as much as one of positive weight.
    weight = np.abs(mass)
    total = weight.sum()
    return weight / total if total > 0 else weight


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
        How many logged rows there are near the row's state, for each action or node.
    effective_rows : float
        (Σ ω)² / Σ ω² of the ratios: as many rows of equal weight would say as much.
    effective_episodes : float or None
        The same of the sums over episodes. None if the log does not name episodes.
    n_rows, n_episodes : int
        What the log holds; without episodes each row counts as one.
    top_rows : list of dict
        The rows that weigh most, heaviest first: ``row``, ``episode`` and ``step``
        where the log has them, ``action``, ``probability`` (the policy's, of a discrete
        action), ``ratio`` and ``share`` of the whole weight Σ |ω|.
    top_episodes : list of dict
        The episodes that weigh most: ``episode``, ``n_rows`` and ``share``.
    share_unseen : float
        Of what the policy would do where it would be, the share that was never logged
        near the state.
    share_unseen_logged : float
        The same at the logged states as often as they were logged.
    share_followed : float
        Share of the policy's discounted visits that the rows account for: 0 of one that
        leaves the log at its first step. Ratios that account for too much lower it as
        well. The rest of the value is not from the log.
    unsupported_share : float
        Discounted probability that the policy comes to take an action that the log does
        not support where it is taken, from which on nothing is known.
    bias_bound : float
        That times the range of returns: how far the value may be off, as `metrics` add
        it to their intervals, with what trees say against the value. By trees of the
        logged actions, so that it need not go with ``share_unseen``, which counts rows.
    residuals : ResidualCheck or None
        Whether what the fitted Q leaves of the Bellman equation, r + γ V(s') − Q(s, a)
        by the other episodes, still follows from the step (``step_share`` of its
        variance, ``step_z`` standard errors) or from the row before (``carried``, a
        list of ``what``, ``correlation`` and ``z``). It should not: else states do not
        hold all that matters, or Q cannot follow the values. None of a log without
        episodes of several rows.
    warnings : list of str
        What the warnings said; empty if there is nothing to warn of.
    """

    value: float
    row: Index
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
    unsupported_share: float
    bias_bound: float
    residuals: ResidualCheck | None
    warnings: list[str]

    @property
    def effective_share(self) -> float:
        """Effective rows as a share of the rows."""
        return self.effective_rows / self.n_rows

    def to_frame(self) -> Any:
        """The heaviest rows as a DataFrame, which needs pandas.

        Returns
        -------
        DataFrame
            One row for each of ``top_rows``.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame needs pandas: python -m pip install pandas"
            ) from error
        return pd.DataFrame(self.top_rows)

    def _repr_html_(self) -> str:
        said, *warned = str(self).split("\nWarning: ")
        lines = tuple(
            tuple(f"{x:.3g}" if isinstance(x, float) else str(x) for x in row.values())
            for row in self.top_rows
        )
        heads = tuple(self.top_rows[0]) if lines else ()
        return section_html(Section("Coverage", said, heads, lines, tuple(warned)))

    def __str__(self) -> str:
        episodes = self.effective_episodes is not None
        inside = f" in {self.n_episodes:,} episodes" if episodes else ""
        rests = f"{self.effective_rows:,.1f} rows ({percent(self.effective_share)})"
        if self.effective_episodes is not None:
            rests += f" and {self.effective_episodes:,.1f} episodes"
        carry = percent(sum(row["share"] for row in self.top_rows))
        heavy = f"The {len(self.top_rows)} heaviest rows carry {carry} of its weight"
        if episodes:
            carry = percent(sum(episode["share"] for episode in self.top_episodes))
            heavy += f", the {len(self.top_episodes)} heaviest episodes {carry}"
        share, bias = percent(self.unsupported_share), self.bias_bound
        bound = "" if share == "0 %" else f" (a bias bound of {bias:.3g})"
        lines = [
            f"Coverage by {self.n_rows:,} logged rows{inside}.",
            f"The policy's value rests on no more than {rests} of equal weight. "
            f"{heavy}.",
            f"Of what the policy would do, {percent(self.share_unseen)} was never "
            "logged near the state where it would do it (at the logged states: "
            f"{percent(self.share_unseen_logged)}). The log accounts for "
            f"{percent(self.share_followed)} of its discounted visits.",
            f"Up to {share} of its value, after actions that the log does not support, "
            f"is unknown{bound}.",
        ]
        return "\n".join([*lines, *(f"Warning: {text}" for text in self.warnings)])


def coverage_warnings(report: CoverageReport, limits: dict[str, float]) -> list[str]:
    rows, episodes = report.effective_rows, report.effective_episodes
    out = []
    # With nothing to rest on the other figures mean nothing, and are not warned of.
    if not report.top_rows:
        return [
            "The value rests on no row: the log holds nothing of what the policy does "
            "from the initial states on. Evaluate a policy nearer to the logged one. "
            "[pitfalls: no-rows]"
        ]
    few_rows = rows < limits["min_effective_rows"]
    if few_rows or (
        episodes is not None and episodes < limits["min_effective_episodes"]
    ):
        counts, expected = f"{rows:,.1f} rows", f"{limits['min_effective_rows']:g}"
        if episodes is not None:
            counts += f" and {episodes:,.1f} episodes"
            expected += f" and {limits['min_effective_episodes']:g}"
        named = "; ".join(_named(row) for row in report.top_rows[:_NAMED_ROWS])
        out.append(
            f"The value rests on a handful of {'rows' if few_rows else 'episodes'}: on "
            f"no more than {counts} of equal weight, where at least {expected} were "
            f"expected. The heaviest rows: {named}. What they show may be chance: look "
            "at them, log more of their kind, or evaluate a policy nearer to the "
            "logged one (a smaller lam). [pitfalls: few-rows]"
        )
    if report.unsupported_share > limits["max_unsupported"]:
        out.append(
            f"{percent(report.unsupported_share)} of the policy's value is after "
            "actions that the log does not support where they would be taken, and "
            "may be anything. Evaluate a policy nearer to the logged one (a smaller "
            "lam, or support > 0). [pitfalls: unsupported]"
        )
    if report.share_followed < limits["min_followed"]:
        out.append(
            f"The logged rows account for {percent(report.share_followed)} of the "
            "policy's discounted visits: it soon leaves for what was never logged. "
            "Evaluate a policy nearer to the logged one (a smaller lam). "
            "[pitfalls: leaves-log]"
        )
    return out


def _named(row: dict[str, Any]) -> str:
    parts = [f"{name} {row[name]}" for name in ("episode", "step") if name in row]
    # A discrete action as it is, a continuous one with the figures that matter.
    action = repr(row["action"])
    if "probability" not in row:
        action = ", ".join(f"{number:.4g}" for number in np.ravel(row["action"]))
        action = f"({action})" if np.ndim(row["action"]) else action
    parts.append(f"action {action}: {percent(row['share'])} of the weight")
    return f"row {row['row']} ({', '.join(parts)})"


def percent(share: float) -> str:
    """A share in percent, such that little is not nothing, and most is not all."""
    # Rounded to whole percents, 0 and 100 would be claims.
    percent = 100.0 * share
    if 0.005 < percent < 0.5:
        return "under 1 %"
    if 99.5 <= percent < 99.95:
        return "over 99 %"
    return f"{percent:.0f} %"
