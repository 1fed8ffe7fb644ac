"""How likely the logged actions were: as logged, or estimated, cross-fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_random_state

from .features import fit_features
from .judged import JudgedLog, like
from .nodes import Floats
from .settings import QSettings, is_whole

# Estimated probabilities are raised to this: one row shall not stand for a thousand.
SMALLEST_PROPENSITY = 1e-3


def episode_folds(judged: JudgedLog, n_folds: int, random_state: Any) -> NDArray[Any]:
    """The fold of each row, (n,): whole episodes, drawn at random.

    Raises
    ------
    ValueError
        If there are fewer episodes than folds, or less than two folds.
    """
    if not is_whole(n_folds) or n_folds < 2:
        raise ValueError(f"n_folds must be an integer >= 2, got {n_folds!r}.")
    if judged.n_episodes < n_folds:
        raise ValueError(
            f"n_folds={n_folds} cannot be made of {judged.counted}: each needs one at "
            "least. Set n_folds lower, or log more episodes."
        )
    drawn = check_random_state(random_state).permutation(judged.n_episodes)
    return (drawn % n_folds)[judged.episode]


def propensities(
    judged: JudgedLog, model: Any, n_folds: int, random_state: Any
) -> tuple[Floats, str]:
    """Probabilities of the logged actions, (n,), and where they come from.

    Parameters
    ----------
    judged : JudgedLog
    model : classifier or None
        None takes the logged ones, and where there are none, a logistic regression on
        the landmark features of the states.
    n_folds : int
        Each row's is estimated without its episode's fold.
    random_state : int, RandomState instance or None
    """
    if model is None and judged.log.propensity is not None:
        return np.asarray(judged.log.propensity, dtype=float), "logged propensities"
    states: Any = judged.log.state
    if model is None:
        features = fit_features(judged, QSettings(random_state=random_state))
        states = features.transform(judged.state)
        model = LogisticRegression(C=10.0, tol=1e-3, max_iter=1000)
    elif hasattr(states, "columns"):
        states = like(states, judged.state)
    fold = episode_folds(judged, n_folds, random_state)
    out = np.empty(len(judged))
    for number in range(n_folds):
        held = np.flatnonzero(fold == number)
        rest = np.flatnonzero(fold != number)
        out[held] = _estimated(model, states, judged.log.action, rest, held)
    by = f"propensities estimated by {type(model).__name__} in {n_folds} folds"
    return np.maximum(out, SMALLEST_PROPENSITY), by


def refuse_densities(judged: JudgedLog) -> None:
    """Refuse to weigh continuous actions by their probabilities, which are zero."""
    if judged.codes is None:
        raise ValueError(
            "Importance sampling divides the probability of each logged action by the "
            "logger's, and continuous actions have densities, of which neither the log "
            "nor the policy's nodes tell enough. Use doubly_robust_value with "
            "ratios='density' (DoublyRobustScorer), or fitted_q_value (FittedQScorer)."
        )


def step_ratios(
    judged: JudgedLog, model: Any, n_folds: int, random_state: Any
) -> tuple[Floats, str]:
    """π(a | s) / b(a | s) of the logged actions, (n,), and where b comes from."""
    chance, source = propensities(judged, model, n_folds, random_state)
    return judged.chances[judged.state_index, judged.codes] / chance, source


def _estimated(
    model: Any, states: Any, action: NDArray[Any], rest: Any, held: Any
) -> Floats:
    def take(rows: Any) -> Any:
        return states.iloc[rows] if hasattr(states, "iloc") else states[rows]

    if len(np.unique(action[rest])) < 2:
        return (action[held] == action[rest][0]).astype(float)
    fitted = clone(model).fit(take(rest), action[rest])
    chances = np.asarray(fitted.predict_proba(take(held)), dtype=float)
    match = action[held, None] == np.asarray(fitted.classes_)[None, :]
    return (chances * match).sum(axis=1)
