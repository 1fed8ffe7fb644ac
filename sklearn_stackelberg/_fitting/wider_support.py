"""Whether a policy that leaves the logger's usual actions is worth it."""

from __future__ import annotations

import torch

from ..solvers._base import Observer, SolverResult
from ..solvers._best_response import BestResponse, LSTDSystem
from .fit import Fit
from .support import ActionSupport

# The support that is tried beside the first, what is left of λ where it has to be worth
# more than that, and by what share of v: by worst case over problems, docs/defaults.md.
WIDER, DOUBT, MARGIN = 0.01, 0.1, 0.1


def widest_worthwhile(
    fit: Fit, lam: float, observe: Observer | None
) -> tuple[Fit, SolverResult | None]:
    """The fit, or the same with less support, and what it found on all rows.

    Less, where its policy is worth more at a tenth of λ than that of the first at λ:
    what a bad logger does now and then may be far better than all it does often, and
    what only looks better is worth little to a more pessimistic follower.
    """
    support = fit.players.inputs.support
    wanted = fit.hp.support == "auto" and fit.state is None
    if not wanted or not isinstance(support, ActionSupport):
        return fit, None
    asked = support.remembering()
    tried = asked.with_threshold(WIDER)
    near, far = (fit.varied(fit.hp, one) for one in (asked, tried))
    priors = near.players.log_prior, far.players.log_prior
    # A policy that remembers would grow by all that it is asked.
    for one in (asked, tried):
        one.forget()
    if _is_equal(*priors):
        return near, None
    systems = [_system(near).subsample(), _system(far).subsample()]
    is_part = systems[0] is not near.solver_problem
    if is_part:
        observe = None  # of the search that counts alone
    found = near.search(lam, observe, systems[0])
    if found.stopped or found.interrupted:
        return near, None if is_part else found
    other = far.search(lam, observe, systems[1])
    # Eq. (82) of docs/game.md.
    doubted = _value(far, systems[1], other, DOUBT * lam)
    first = max(_value(near, systems[0], found, x * lam) for x in (DOUBT, 1.0))
    if doubted > first + MARGIN * abs(first):
        near, found = far, other
    return near, None if is_part else found


def _system(fit: Fit) -> LSTDSystem:
    assert isinstance(fit.solver_problem, LSTDSystem)
    return fit.solver_problem


def _value(fit: Fit, system: LSTDSystem, found: SolverResult, lam: float) -> float:
    assert isinstance(found.policy, torch.Tensor)
    weight = fit.weight(lam)
    return BestResponse(system, found.policy, weight, fit.beta).credible_value


def _is_equal(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    assert one is not None
    assert other is not None
    return torch.equal(one, other)
