"""What is run: ours, and peers as their users run them, all without a simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.peers import grid
from sklearn_stackelberg import EpisodeKFold, StackelbergPolicyEstimator
from sklearn_stackelberg.baselines import (
    LSPI,
    BehaviourCloning,
    ContinuousBehaviourCloning,
    D3RLPyContinuous,
    D3RLPyDiscrete,
    KernelFittedQIteration,
)
from sklearn_stackelberg.benchmark._methods import (
    Method,
    any_log,
    continuous,
    discrete,
    key_of,
    known_methods,
    sequential,
)
from sklearn_stackelberg.model_selection import DoublyRobustScorer, FittedQScorer

OURS = ("Stackelberg", "Stackelberg calibrated", "Stackelberg CV", "Stackelberg search")
# What the best setting of ours is taken from, by the true value: no method, a scale.
GRID_NAME = "best of a grid"
GRID = (
    {},  # the defaults: so no share of the best is above 1 by them
    *grid(
        kernel=("rbf", "laplacian"),
        bandwidth=("relevance", 0.5),
        lam=(1.0, 10.0, 100.0),
        support=(0.0, 0.2),
    ),
)
_SMALL_GRID = {"lam": [1.0, 10.0, 100.0], "support": [0.0, 0.2]}
_RIDGES = {"ridge": [1e-7, 1e-5, 1e-3, 1e-1]}

Make = Callable[[float, int, str], BaseEstimator]
# What each learner of d3rlpy chooses from beside its defaults: less caution.
_SECOND: dict[str, dict[str, Any]] = {
    "DiscreteCQL": {"alpha": 0.1},
    "DiscreteBCQ": {"action_flexibility": 0.1},
    "TD3PlusBC": {"alpha": 10.0},
    "IQL": {"expectile": 0.9},
    "CQL": {"conservative_weight": 1.0},
}


def ours(discount: float, seed: int, setting: dict[str, Any]) -> BaseEstimator:
    """Our estimator with a setting of the grid."""
    return StackelbergPolicyEstimator(discount=discount, random_state=seed, **setting)


def _searched(make: Make, settings: dict[str, list[Any]], scoring: Any = None) -> Make:
    """A grid search over three folds of whole episodes."""

    def made(discount: float, seed: int, kind: str) -> BaseEstimator:
        rule = scoring and scoring(discount=discount)
        folds = EpisodeKFold(3, shuffle=True, random_state=seed)
        return GridSearchCV(
            make(discount, seed, kind), settings, scoring=rule, cv=folds
        )

    return made


def _default(discount: float, seed: int, kind: str) -> BaseEstimator:
    return ours(discount, seed, {"action_type": kind})


def _kernel(factory: Callable[..., BaseEstimator]) -> Make:
    return lambda discount, seed, kind: factory(discount=discount, random_state=seed)


def _network(discount: float, seed: int, kind: str) -> BaseEstimator:
    factory, clone_of = (
        (MLPClassifier, BehaviourCloning)
        if kind == "discrete"
        else (MLPRegressor, ContinuousBehaviourCloning)
    )
    network = factory(
        hidden_layer_sizes=(64, 64), early_stopping=True, random_state=seed
    )
    return clone_of(make_pipeline(StandardScaler(), network))


def _d3rlpy(algorithm: str, settings: list[dict[str, Any]]) -> Make:
    def make(discount: float, seed: int, kind: str) -> BaseEstimator:
        factory = D3RLPyDiscrete if kind == "discrete" else D3RLPyContinuous
        return factory(algorithm, discount=discount, random_state=seed)

    if len(settings) == 1:
        return make
    return _searched(make, {"settings": settings}, FittedQScorer)


def suite_methods() -> tuple[Method, ...]:
    """The methods of the package's comparison, and those that choose a setting."""
    # There the kernels' ridge is fixed: 200 landmarks, 1e-5.
    found = list(known_methods())
    found += [
        Method("BC network", _network, any_log),
        Method("Stackelberg search", _searched(_default, _SMALL_GRID), any_log),
    ]
    for name, factory in (("LSPI", LSPI), ("FQI", KernelFittedQIteration)):
        made = _searched(_kernel(factory), _RIDGES, DoublyRobustScorer)
        found.append(Method(f"{name} kernel, ridge chosen", made, sequential))
    cql = _d3rlpy("CQL", [{}])
    found.append(Method("d3rlpy CQL, any amount", cql, continuous, "d3rlpy"))
    for algorithm, second in _SECOND.items():
        reason = discrete if algorithm.startswith("Discrete") else continuous
        name = algorithm.removeprefix("Discrete").replace("Plus", "+")
        if algorithm == "CQL":
            name = "CQL, any amount"
        made = _d3rlpy(algorithm, [{}, second])
        found.append(Method(f"d3rlpy {name}, best of two", made, reason, "d3rlpy"))
    return tuple(found)


def wanted_methods(names: str | None, side: str) -> list[Method]:
    """Those whose names are one of ``A|B``, as a command line has them."""
    keys = [key_of(name) for name in names.split("|")] if names else None
    return [m for m in _of_side(side) if keys is None or m.key in keys]


def _of_side(side: str) -> Iterable[Method]:
    every = suite_methods()
    if side == "both":
        return every
    return [m for m in every if (m.name in OURS) == (side == "ours")]
