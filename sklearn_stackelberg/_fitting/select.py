"""Which fit the hyperparameters and the log ask for."""

from __future__ import annotations

from typing import Any

from .._problem.action_space import Amounts, Labels
from .._problem.dataset import LoggedGame
from .closed_form import ContinuousClosedForm, DiscreteClosedForm, KeptPolicy
from .hyperparameters import choose_solver, settle
from .stochastic import KeptPlay, StochasticFit

Fit = DiscreteClosedForm | ContinuousClosedForm | StochasticFit


def begin(
    params: dict[str, Any],
    game: LoggedGame,
    actions: Labels | Amounts,
    kept: KeptPolicy | KeptPlay | None = None,
) -> Fit:
    """Make a game ready to be solved.

    Parameters
    ----------
    params : dict
        The estimator's hyperparameters.
    game : LoggedGame
    actions : Labels or Amounts
    kept : KeptPolicy or KeptPlay, default=None
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
    if kept is not None and isinstance(kept, KeptPlay) != (solver == "stochastic"):
        raise ValueError(
            f"warm_start=True goes on from the last fit, which another solver than "
            f"solver={params['solver']!r} made. Set warm_start=False to begin anew."
        )
    params = settle(params, actions.type, solver)
    if solver == "stochastic":
        return StochasticFit(params, game, actions, kept)
    if params["device"] == "cuda":
        raise ValueError(
            "device='cuda' is for the stochastic solver; the closed form works on the "
            "CPU. Set device='auto', or solver='stochastic'."
        )
    if isinstance(actions, Amounts):
        return ContinuousClosedForm(params, game, actions, kept)
    return DiscreteClosedForm(params, game, actions, kept)
