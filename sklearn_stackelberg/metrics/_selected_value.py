"""What policies are worth that were chosen among several on the same log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t as student_t

from .._typing import Index
from ..transitions._tables import Log
from ._doubly_robust import (
    CrossFitted,
    density_estimate,
    fit_without,
    with_second_order,
)
from ._estimate import Limits, OffPolicyEstimate, interval, spread, within
from ._fitted_q import FittedQSystem
from ._forest_q import disagreement
from ._lower_bound import spread_of_policies
from ._prepare import names_of_pieces
from ._residual_check import hidden_state_notes
from ._settings import QSettings, choose_system
from ._tabulate import AnyPolicy, tabulate_policy
from ._unsupported import bias_bound, unsupported_actions

# Of Q: the doubly robust estimate's own.
_RIDGE = 0.1


class HeldOut(NamedTuple):
    """A policy, the whole log as it sees it, and the rows it did not learn from."""

    policy: AnyPolicy
    log: Log
    rows: Index


@dataclass(frozen=True)
class SelectedValue(OffPolicyEstimate):
    """What the policies are worth that a search chooses on a log.

    As `OffPolicyEstimate`, with an interval that holds for all candidates at once, by
    Bonferroni: whichever of them was chosen, and for whatever noise, the interval holds
    its value at the confidence level. A difference to an estimate of the same log keeps
    that; what is multiplied or shifted by a number is a plain estimate.

    Parameters
    ----------
    value, standard_error, effective_sample_size, n_episodes, n_transitions
        As of every `OffPolicyEstimate`.
    method, error_method, effective_unit, confidence_level
        As of every `OffPolicyEstimate`.
    contributions, bias_bound, pieces, limits, left_out
        As of every `OffPolicyEstimate`.
    n_candidates : int, default=1
        Among so many was chosen.
    notes : tuple of Warning, default=()
        What makes it less sure: that states do not hold all that matters.
    """

    n_candidates: int = 1
    notes: tuple[Warning, ...] = ()

    @property
    def confidence_interval(self) -> Limits:
        """(low, high), by Student's quantile of as many candidates as there were."""
        tail = 0.5 * (1.0 - self.confidence_level) / self.n_candidates
        return interval(self, float(student_t.isf(tail, self.degrees_of_freedom)))

    def p_value(self, value: float = 0.0) -> float:
        """How often chance alone would put the best of as many estimates as far away.

        Parameters
        ----------
        value : float, default=0.0
            As in `OffPolicyEstimate`.

        Returns
        -------
        float
        """
        return min(1.0, self.n_candidates * super().p_value(value))

    def _combined(self, *args: Any) -> OffPolicyEstimate:
        found = super()._combined(*args)
        return SelectedValue(**vars(found), n_candidates=self.n_candidates)


def selected_value(
    parts: Sequence[HeldOut],
    discount: float,
    n_candidates: int,
    level: float = 0.95,
) -> SelectedValue:
    """Mean value of policies, each on the rows that it was not learned from.

    Doubly robust, Q and the density ratios of each policy fitted on the rows that it
    was learned from, so that nothing has seen the rows that it is applied to. The parts
    are of one log, and each row in the rows of one.
    """
    systems: list[FittedQSystem] = []
    shared: FittedQSystem | None = None
    for part in parts:
        data = tabulate_policy(part.policy, part.log).by_steps(discount)
        # Where states are those of the part before, so are the features.
        if shared is not None and part.log is parts[0].log:
            systems.append(shared.on(data))
            continue
        settings = QSettings(ridge=_RIDGE)
        shared = choose_system(data, discount, settings)
        systems.append(shared)
    data = systems[0].data
    found = CrossFitted(*np.zeros((3, len(data))))
    for part, system in zip(parts, systems, strict=True):
        found.take(part.rows, fit_without(system, part.rows))
    # As of the lower bound, the lower of the two: of few episodes what the ratios are
    # divided by can be near zero.
    value, psi, size = min(
        (
            density_estimate(data, found, discount, weighted=weighted, clip=None)
            for weighted in (True, False)
        ),
        key=lambda one: one[0] - spread(one[1]),
    )
    fits = [system.solve() for system in systems]
    psi = with_second_order(psi, fits[0])
    # The policy of all rows is one more such policy, and differs from them as they do
    # from each other.
    error = float(np.hypot(spread(psi), spread_of_policies(fits)))
    trees = disagreement(systems, value, psi, [part.rows for part in parts])
    limits = data.return_range(discount)
    value, error = within(value, error, limits)
    return SelectedValue(
        value=value,
        standard_error=error,
        effective_sample_size=float(size),
        n_episodes=data.n_pieces,
        n_transitions=len(data),
        method=f"Doubly robust evaluation of what {len(parts)} splits chose",
        error_method=f"the influence function over {data.counted}",
        confidence_level=level,
        contributions=psi,
        bias_bound=float(np.mean(_bias_bounds(systems))) + trees.bound,
        pieces=names_of_pieces(data),
        limits=limits,
        n_candidates=n_candidates,
        notes=trees.notes + hidden_state_notes(fits[0]),
    )


def _bias_bounds(systems: Sequence[FittedQSystem]) -> list[float]:
    first = systems[0]
    # What a log supports of discrete actions is asked once, if it is the same log.
    shared = all(system.data.log is first.data.log for system in systems)
    if first.data.is_continuous or not shared:
        return [bias_bound(system) for system in systems]
    unsupported = unsupported_actions(first)
    return [bias_bound(system, unsupported) for system in systems]
