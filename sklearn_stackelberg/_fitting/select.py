"""Which fit the hyperparameters and the log ask for."""

from __future__ import annotations

from typing import Any

from .._problem.action_space import ContinuousActions, DiscreteActions
from .._problem.dataset import OfflineProblem
from .closed_form import ClosedFormState, ContinuousClosedForm, DiscreteClosedForm
from .hyperparameters import choose_solver, resolve_defaults
from .stochastic import StochasticFit, StochasticState

Fit = DiscreteClosedForm | ContinuousClosedForm | StochasticFit


def make_fit(
    params: dict[str, Any],
    game: OfflineProblem,
    actions: DiscreteActions | ContinuousActions,
    kept: ClosedFormState | StochasticState | None = None,
) -> Fit:
    """Make a game ready to be solved.

    Parameters
    ----------
    params : dict
        The estimator's hyperparameters.
    game : OfflineProblem
    actions : Labels or Amounts
    kept : ClosedFormState or StochasticState, default=None
        What an earlier fit left, to go on from.

    Returns
    -------
    DiscreteClosedForm, ContinuousClosedForm or StochasticFit

    Raises
    ------
    ValueError
        If the solver cannot do what is asked of it.
    """
    solver = choose_solver(params, actions.type)
    if kept is not None and isinstance(kept, StochasticState) != (
        solver == "stochastic"
    ):
        raise ValueError(
            f"warm_start=True goes on from the last fit, which another solver than "
            f"solver={params['solver']!r} made. Set warm_start=False to begin anew."
        )
    params = resolve_defaults(params, actions.type, solver)
    if solver == "stochastic":
        return StochasticFit(params, game, actions, kept)
    if params["device"] == "cuda":
        raise ValueError(
            "device='cuda' is for the stochastic solver; the closed form works on the "
            "CPU. Set device='auto', or solver='stochastic'."
        )
    if isinstance(actions, ContinuousActions):
        return ContinuousClosedForm(params, game, actions, kept)
    return DiscreteClosedForm(params, game, actions, kept)
