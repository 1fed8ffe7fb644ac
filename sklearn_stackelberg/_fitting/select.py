"""Which solver the hyperparameters and the actions ask for."""

from __future__ import annotations

from typing import Literal

from .._problem.action_space import Actions
from .._problem.dataset import OfflineProblem
from ..policies._base import CONTINUOUS_POLICIES
from ..solvers._base import ProblemSpec, Solver
from ..solvers._closed_form import ClosedForm
from ..solvers._stochastic import Stochastic
from .fits import ClosedFormFit, Fit, StochasticFit
from .hyperparameters import FunctionClass, Hyperparameters, is_network
from .result import FitState

_NAMED: dict[str, type[ClosedForm] | type[Stochastic]] = {
    "closed_form": ClosedForm,
    "stochastic": Stochastic,
}


def _spec(
    hp: Hyperparameters, action_type: Literal["discrete", "continuous"]
) -> ProblemSpec:
    """What the solver may ask before anything is built."""
    network = is_network(hp.policy)
    # Where actions move with the state, the policy has features of its own.
    distribution = CONTINUOUS_POLICIES[hp.action_distribution]
    moving = action_type == "continuous" and distribution.has_moving_actions
    return ProblemSpec(
        action_type=action_type,
        linear_q=not is_network(hp.q_function),
        linear_policy=not network and (moving or hp.q_function == hp.policy),
        network_policy=network,
        device=hp.device,
        q_function=repr(hp.q_function),
        policy=repr(hp.policy),
    )


def _choose_solver(hp: Hyperparameters, spec: ProblemSpec) -> Solver:
    if not isinstance(hp.solver, str):
        return hp.solver
    exact = spec.linear_q and spec.linear_policy
    auto = "closed_form" if exact else "stochastic"
    return _NAMED[auto if hp.solver == "auto" else hp.solver]()


def make_fit(
    hp: Hyperparameters,
    problem: OfflineProblem,
    actions: Actions,
    state: FitState | None = None,
) -> Fit:
    """A problem ready to be solved, or a sentence about why it cannot be."""
    spec = _spec(hp, actions.type)
    solver = _choose_solver(hp, spec)
    if state is not None and state.needs != solver.needs:
        raise ValueError(
            f"warm_start=True goes on from the last fit, which another solver than "
            f"solver={hp.solver!r} made. Set warm_start=False to begin anew."
        )
    kind = ClosedFormFit if solver.needs == "linear" else StochasticFit
    return kind(hp, solver.resolve(spec), problem, actions, state)


def has_one_pass(solver: str | Solver, *function_classes: FunctionClass) -> bool:
    """Whether a fit can go on pass by pass, as far as parameters tell."""
    if solver == "auto":
        return any(map(is_network, function_classes))
    return hasattr(
        _NAMED.get(solver) if isinstance(solver, str) else solver, "one_pass"
    )
