"""The methods that are compared: how each is made, and which logs it is for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..baselines import (
    LSPI,
    BehaviourCloning,
    BestSingleAction,
    ContinuousBehaviourCloning,
    D3RLPyContinuous,
    D3RLPyDiscrete,
    DirectMethod,
    DRPolicy,
    FittedQIteration,
    KernelFittedQIteration,
    TabularValueIteration,
)
from ..transitions._actions import action_type
from ..transitions._transitions import Transitions

_PACKAGE = "sklearn_stackelberg"

# Counts say something of states that so many rows speak of, on average; the matrix of
# more states than these would not be one of counts.
_ROWS_OF_STATE, _MOST_STATES = 3, 5_000

# Trees of the boosted fitted Q: as many iterations as FQI has cost as many of them.
_BOOSTED_TREES = 50


class Facts(NamedTuple):
    """What decides which methods a log can be given to."""

    action_type: str  # "discrete" or "continuous"
    one_step: bool  # whether nothing follows any decision
    n_states: int
    n_rows: int

    @classmethod
    def of(cls, log: Transitions, discount: float, given: str) -> Facts:
        kind = action_type(log.action, given)[0]
        one_step = discount == 0.0 or bool(log.terminated.all())
        n_states = len(np.unique(np.asarray(log.state, dtype=float), axis=0))
        return cls(kind, one_step, n_states, len(log))


Make = Callable[[float, int, str], BaseEstimator]  # discount, seed and action type
Reason = Callable[[Facts], str]  # why a method is not for a log, or nothing


@dataclass(frozen=True)
class Method:
    """A method by the name that the table gives it."""

    name: str
    make: Make
    not_for: Reason
    package: str | None = None  # what it needs beside ours

    @property
    def key(self) -> str:
        return key_of(self.name)

    @property
    def is_installed(self) -> bool:
        return self.package is None or find_spec(self.package) is not None


def key_of(name: str) -> str:
    """A name as it is written on a command line."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def any_log(facts: Facts) -> str:
    return ""


def discrete(facts: Facts) -> str:
    return "" if facts.action_type == "discrete" else "for discrete actions"


def continuous(facts: Facts) -> str:
    return "" if facts.action_type == "continuous" else "for continuous actions"


def sequential(facts: Facts) -> str:
    one = "decisions of one step: the direct method is the same" * facts.one_step
    return discrete(facts) or one


def _one_step(facts: Facts) -> str:
    return discrete(facts) or "for decisions of one step" * (not facts.one_step)


def _finite(facts: Facts) -> str:
    if reason := discrete(facts):
        return reason
    few = facts.n_states <= _MOST_STATES
    if few and facts.n_rows >= _ROWS_OF_STATE * facts.n_states:
        return ""
    return (
        f"for finite states, {_ROWS_OF_STATE} rows of each on average; the log has "
        f"{facts.n_states:,} in {facts.n_rows:,} rows"
    )


def _ours(name: str, **more: object) -> Make:
    """Make an estimator of the package, by its name there."""

    def make(discount: float, seed: int, kind: str) -> BaseEstimator:
        found: BaseEstimator = getattr(import_module(_PACKAGE), name)(**more)
        return _with(found, discount, seed, kind)

    return make


def _with(
    estimator: BaseEstimator, discount: float, seed: int, kind: str
) -> BaseEstimator:
    """The estimator, with what it has parameters for."""
    given = {"discount": discount, "action_type": kind, "random_state": seed}
    known = estimator.get_params()
    return estimator.set_params(**{k: v for k, v in given.items() if k in known})


def _made(
    factory: Callable[..., BaseEstimator], *given: object, **more: object
) -> Make:
    """Make a baseline, with parameters of its own."""

    def make(discount: float, seed: int, kind: str) -> BaseEstimator:
        return _with(factory(*given, **more), discount, seed, kind)

    return make


def _d3rlpy(kind: type[BaseEstimator], *algorithms: str) -> Iterable[Method]:
    reason = discrete if kind is D3RLPyDiscrete else continuous
    for algorithm in algorithms:
        name = algorithm.removeprefix("Discrete").replace("Plus", "+")
        yield Method(f"d3rlpy {name}", _made(kind, algorithm), reason, "d3rlpy")


_boosting = partial(HistGradientBoostingRegressor, max_iter=_BOOSTED_TREES)
_trees = partial(ExtraTreesRegressor, n_estimators=50, min_samples_split=5)
_ridge = partial(make_pipeline, StandardScaler(), Ridge())

METHODS = (
    Method("Best single action", _made(BestSingleAction), discrete),
    Method("BC logistic", _made(BehaviourCloning), discrete),
    Method(
        "BC boosting",
        _made(BehaviourCloning, HistGradientBoostingClassifier(max_iter=30)),
        discrete,
    ),
    Method("BC ridge", _made(ContinuousBehaviourCloning), continuous),
    Method("BC extra trees", _made(ContinuousBehaviourCloning, _trees()), continuous),
    Method("Direct ridge", _made(DirectMethod, _ridge()), _one_step),
    Method("Direct extra trees", _made(DirectMethod, _trees()), _one_step),
    Method("Direct boosting", _made(DirectMethod, _boosting()), _one_step),
    Method("DR policy forest", _made(DRPolicy), _one_step, "econml"),
    Method("Value iteration", _made(TabularValueIteration), _finite),
    Method("VI-LCB", _made(TabularValueIteration, penalty=1.0), _finite),
    Method("FQI extra trees", _made(FittedQIteration), sequential),
    Method("FQI boosting", _made(FittedQIteration, _boosting()), sequential),
    Method("FQI kernel", _made(KernelFittedQIteration), sequential),
    Method("LSPI kernel", _made(LSPI), sequential),
    *_d3rlpy(D3RLPyDiscrete, "DiscreteBC", "DiscreteBCQ", "DiscreteCQL"),
    *_d3rlpy(D3RLPyContinuous, "TD3PlusBC", "IQL"),
    Method("Stackelberg", _ours("StackelbergPolicyEstimator"), any_log),
    Method(
        "Stackelberg calibrated",
        _ours("StackelbergPolicyEstimator", lam="calibrated"),
        any_log,
    ),
)


def known_methods() -> tuple[Method, ...]:
    """All methods of this version, installed or not."""
    # The estimator that searches may be of a later version.
    if not hasattr(import_module(_PACKAGE), "StackelbergPolicyCV"):
        return METHODS
    search = Method("Stackelberg CV", _ours("StackelbergPolicyCV"), any_log)
    return (*METHODS, search)


class Chosen(NamedTuple):
    """Methods to run on a log, and why others are not."""

    methods: list[Method]
    skipped: dict[str, str]


def choose(
    given: str | Iterable[str] | Mapping[str, BaseEstimator], facts: Facts
) -> Chosen:
    """The methods that are asked for: all, some by name, or a user's own."""
    if isinstance(given, Mapping):
        if not given:
            raise ValueError("methods is empty; give a dict of at least one estimator.")
        return Chosen([_own(name, one) for name, one in given.items()], {})
    known = known_methods()
    if given == "installed":
        skipped = {
            one.name: one.not_for(facts) or f"{one.package} is not installed"
            for one in known
            if one.not_for(facts) or not one.is_installed
        }
        return Chosen([one for one in known if one.name not in skipped], skipped)
    names = [given] if isinstance(given, str) else [*given]
    if not names:
        raise ValueError("methods is empty; name one method at least.")
    by_key = {one.key: one for one in known}
    found = []
    for name in names:
        if key_of(str(name)) not in by_key:
            near = difflib.get_close_matches(key_of(str(name)), by_key, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(
                f"There is no method {name!r}.{hint} There are {', '.join(by_key)}."
            )
        found.append(by_key[key_of(str(name))])
    return Chosen([*dict.fromkeys(found)], {})


def _own(name: str, estimator: BaseEstimator) -> Method:
    if isinstance(estimator, type) or not hasattr(estimator, "fit"):
        raise ValueError(
            f"methods[{name!r}] is {estimator!r}; an estimator with fit was expected, "
            "such as StackelbergPolicyEstimator()."
        )
    # Its parameters are the user's: the discount of the comparison is not set.
    return Method(str(name), lambda discount, seed, kind: estimator, any_log)
