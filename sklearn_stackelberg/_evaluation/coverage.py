"""How much of what a policy would do a log supports."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .coverage_words import CoverageReport, concerns_of
from .estimate import effective_size
from .fitted_q import FittedQ, fitted_q
from .judged import judge
from .nodes import Floats
from .settings import check_common, is_real, is_whole, q_settings
from .support import support_counts


def coverage_report(
    policy: Any,
    X: Any,
    y: Any = None,
    *,
    discount: float,
    greedy: bool = False,
    n_rows: int = 10,
    min_rows: float = 1.0,
    min_effective_rows: float = 30.0,
    min_effective_episodes: float = 10.0,
    min_followed: float = 0.5,
    kernel: Any = "auto",
    bandwidth: Any = "median",
    n_components: int | None = 200,
    ridge: float = 0.03,
    random_state: Any = 0,
) -> CoverageReport:
    """Report how much of what a policy would do a log supports.

    From the equations of `fitted_q_value`, one fit: their dual gives the density ratios
    ω_i with value = Σ_i ω_i r_i / n, that is which rows the value is made of. An action
    a is seen near a state s as often as

        N_a(s) = k / (k − ‖φ‖² + φᵀ (Σ_{i: a_i = a} φ_i φ_iᵀ / k + I)⁻¹ φ) − 1,

    k = k(s, s): the number of rows at s itself from which as much could be learned of
    Q(s, a) as from all rows of that action. For states that are only told apart it is
    the count of (s, a). Where the policy would be is known by its flow along the log:
    the first states, and the next state of each row γ ω_i times.
    Of continuous actions, N(s, a) counts the logged pairs near (s, a), and what the
    policy would do are its nodes.

    Parameters
    ----------
    policy, X, y, discount, greedy
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
    kernel, bandwidth, n_components, ridge, random_state
        As in `metrics.fitted_q_value`.

    Returns
    -------
    CoverageReport

    Warns
    -----
    UserWarning
        If the value rests on a handful of rows or episodes, of which the heaviest are
        named, or for the most part on nothing that was logged.

    Raises
    ------
    ValueError
        As `metrics.fitted_q_value`, or if a count or limit is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> from sklearn_stackelberg.inspection import coverage_report
    >>> state = np.repeat([[0.0], [1.0]], 60, axis=0)
    >>> action = np.tile([0, 1], 60)
    >>> log = Transitions(
    ...     state, action, 1.0 * (action == state[:, 0]), state, terminated=np.ones(120)
    ... )
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
    >>> report = coverage_report(policy, log, discount=0.0, greedy=True, n_rows=3)
    >>> print(report)
    Coverage by 120 logged rows.
    The policy's value of 0.9995 rests on as much as 60.0 rows (50 %) of equal weight.
    The 3 heaviest rows carry 5 % of its weight.
    Of what the policy would do, 0 % was never logged near the state where it would do
    it (at the logged states: 0 %). The log accounts for over 99 % of its discounted
    visits.
    """
    check_common(discount, 0.95)
    settings = q_settings(kernel, bandwidth, n_components, ridge, random_state)
    limits = {
        "min_rows": min_rows,
        "min_effective_rows": min_effective_rows,
        "min_effective_episodes": min_effective_episodes,
        "min_followed": min_followed,
    }
    for name, limit in limits.items():
        if not is_real(limit) or not 0 <= limit < np.inf:
            raise ValueError(f"{name} must be a number >= 0, got {limit!r}.")
    if not is_whole(n_rows) or n_rows < 1:
        raise ValueError(f"n_rows must be an integer >= 1, got {n_rows!r}.")
    fit = fitted_q(judge(policy, X, y, greedy=greedy), discount, settings)
    judged = fit.judged
    mass = judged.weight * fit.ratio
    total = float(mass.sum())
    # Smooth features leave the dual some negative mass; more of it than of the other
    # would be no distribution of visits at all.
    mass = mass / total if total > 0 else np.zeros_like(mass)
    by_episode = np.bincount(judged.episode, mass, judged.n_episodes)
    support = support_counts(fit)
    # What lacks a rounding error of enough is enough.
    unseen = (judged.chances * (support < min_rows * (1 - 1e-6))).sum(axis=1)  # (N,)
    visits = _visits(fit)
    report = CoverageReport(
        value=fit.value,
        row=judged.rows,
        ratio=mass / judged.weight,
        support=support[judged.state_index],
        effective_rows=effective_size(mass),
        effective_episodes=effective_size(by_episode) if judged.has_episodes else None,
        n_rows=len(judged),
        n_episodes=judged.n_episodes,
        top_rows=_heaviest_rows(fit, mass, n_rows),
        top_episodes=_heaviest_episodes(fit, mass, n_rows),
        share_unseen=float(visits @ unseen / visits.sum()),
        share_unseen_logged=float(judged.weight @ unseen[judged.state_index]),
        share_followed=_share_followed(fit),
        concerns=[],
    )
    report.concerns.extend(concerns_of(report, limits))
    for text in report.concerns:
        warnings.warn(text, UserWarning, stacklevel=2)
    return report


def _visits(fit: FittedQ) -> Floats:
    """How often the policy comes to each of ``judged.states``, discounted, (N,)."""
    judged = fit.judged
    moved = judged.weight * judged.goes_on * np.maximum(fit.ratio, 0.0)
    out = np.zeros(len(judged.states))
    np.add.at(out, judged.state_index[judged.initial], judged.initial_weight)
    np.add.at(out, judged.next_index, fit.system.discount * moved)
    return out


def _share_followed(fit: FittedQ) -> float:
    """Of walks that stop with probability 1 − γ a step, those that stop in the log."""
    judged = fit.judged
    stops = 1.0 - fit.system.discount * judged.goes_on
    found = float(judged.weight * fit.ratio @ stops)  # 1, but for what is lost
    return max(0.0, 1.0 - abs(1.0 - found))


def _heaviest_rows(fit: FittedQ, mass: Floats, n_rows: int) -> list[dict[str, Any]]:
    judged, weight = fit.judged, _share(mass)
    chosen = np.argsort(-weight, kind="stable")[:n_rows]
    log, out = judged.log, []
    ratio = mass / judged.weight
    for i in chosen[weight[chosen] > 0]:
        row: dict[str, Any] = {"row": int(judged.rows[i])}
        if log.episode is not None:
            row["episode"] = _plain(log.episode[i])
        if log.step is not None:
            row["step"] = _plain(log.step[i])
        row["action"] = _plain(log.action[i])
        if judged.codes is not None:  # amounts have densities
            row["probability"] = float(
                judged.chances[judged.state_index[i], judged.codes[i]]
            )
        out.append(row | {"ratio": float(ratio[i]), "share": float(weight[i])})
    return out


def _heaviest_episodes(fit: FittedQ, mass: Floats, n_rows: int) -> list[dict[str, Any]]:
    judged = fit.judged
    if judged.log.episode is None:
        return []
    counts = np.bincount(judged.episode)
    weight = np.bincount(judged.episode, _share(mass))
    _, first = np.unique(judged.episode, return_index=True)
    chosen = np.argsort(-weight, kind="stable")[:n_rows]
    return [
        {
            "episode": _plain(judged.log.episode[first[e]]),
            "n_rows": int(counts[e]),
            "share": float(weight[e]),
        }
        for e in chosen[weight[chosen] > 0]
    ]


def _share(mass: Floats) -> Floats:
    """|p ω| over its sum; 0 where there is none."""
    weight = np.abs(mass)
    total = weight.sum()
    return weight / total if total > 0 else weight


def _plain(label: Any) -> Any:
    return label.tolist() if isinstance(label, np.generic | np.ndarray) else label
