"""The problems: a process, the policy that logs, and one to be evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from sys import stderr
from typing import Any

import numpy as np

from benchmarks.families.choose import Thermostat, ring
from benchmarks.families.evaluate import admission, stock_keeping
from benchmarks.families.problem import Finite, Problem, Simulated
from benchmarks.problems import frozen_lake
from benchmarks.trust.added import (
    Costs,
    Discounts,
    Ending,
    Screening,
    Survival,
    Titration,
)
from benchmarks.trust.glucose import LOGGER, TARGET, GlucoseDays
from benchmarks.trust.policies import (
    Array,
    Gaussian,
    Policy,
    Probabilities,
    softmax,
    tabular,
)
from benchmarks.trust.processes import (
    BloodPressure,
    LinearQuadratic,
    Noise,
    RandomIntercepts,
    TwoStage,
    chain,
)
from benchmarks.trust.statistics import named
from sklearn_stackelberg import Transitions

# Episodes that the value of a policy that is known is taken over, where it is not
# exact: a hundred times what a log has, so that its error is a tenth of an estimate's.
_PRECISE = 50_000


@dataclass(frozen=True)
class TrustProblem:
    """A process, and two policies whose values are known.

    Parameters
    ----------
    process : Problem
        Has logs, and the true value of any policy.
    logger, target : policies
        The one that logs, as probabilities, and one that the log covers.
    about : str
    exact : callable, default=None
        The value of a policy by a formula, where there is one.
    tenfold : Problem, default=None
        The same with ten times as many episodes.
    covered : bool, default=True
        Whether the log holds what the target does.
    setting : mapping
        Hyperparameters of the estimator that are not its defaults.
    requires : str, default=None
        The package of its simulator, where that is not ours.
    """

    process: Problem
    logger: Policy
    target: Policy
    about: str
    exact: Callable[[Policy], float] | None = None
    tenfold: Problem | None = None
    covered: bool = True
    setting: Mapping[str, Any] = field(default_factory=dict)
    requires: str | None = None

    @property
    def is_installed(self) -> bool:
        """Whether logs can be made here."""
        return self.requires is None or find_spec(self.requires) is not None

    @property
    def name(self) -> str:
        """In tables."""
        return self.process.name

    @property
    def discount(self) -> float:
        """By which policies are learned and evaluated."""
        return self.process.discount

    @property
    def continuous(self) -> bool:
        """Whether actions are amounts."""
        return hasattr(self.target, "action_nodes")

    def log(self, seed: int, tenfold: bool = False) -> Transitions:
        """A fresh log; of ten times as many episodes, if there is such a one."""
        process = self.tenfold if tenfold else self.process
        assert process is not None
        return process.log(seed)

    def value(self, policy: Any) -> float:
        """True value of what a policy predicts."""
        return self.process.value(policy)

    def value_stochastic(self, policy: Any) -> float:
        """True value of a policy that draws its actions."""
        return self.process.value_stochastic(policy)

    @cached_property
    def target_value(self) -> float:
        """True value of the policy to be evaluated, to within little."""
        return self._precise(self.target)

    @cached_property
    def logger_value(self) -> float:
        """True value of the policy that logs, to within little."""
        return self._precise(self.logger)

    def _precise(self, policy: Policy) -> float:
        if self.exact is not None:
            return self.exact(policy)
        process = copy(self.process)
        if isinstance(process, Simulated):
            process.value_episodes = _PRECISE  # type: ignore[misc]
        return process.value_stochastic(policy)


# -------------------------------------------------------------------------- noise


def _leaning(n_actions: int) -> Probabilities:
    """Goes by the first column, away from the last action."""
    slopes = np.linspace(1.0, -1.0, n_actions)
    return softmax(lambda s: s[:, :1] * slopes, n_actions)


def _noise(name: str, *sizes: int, about: str, **kwargs: Any) -> TrustProblem:
    process = Noise(name, *sizes, **kwargs)
    return TrustProblem(
        process, process.logger, _leaning(len(process.logger.classes_)), about
    )


_COLUMNS = (1, 2, 5, 30)
_ROWS = tuple(
    _noise(f"noise, {d} col.", d, 1_000, about="1,000 rows, 3 actions")
    for d in _COLUMNS
)
_EPISODES = tuple(
    _noise(f"noise in episodes, {d} col.", d, 100, 10, about="100 episodes of 10")
    for d in _COLUMNS
)
_CLICKS = _noise(
    "clicks, 3 %",
    2,
    2_000,
    rate=0.03,
    n_actions=5,
    about="2,000 rows, 5 actions, 1 in 33 rewards is 1, else 0",
)

# --------------------------------------------------------------------- finite states


def _finite(process: Finite, about: str, share: float = 0.25) -> TrustProblem:
    """A share of the optimum, the rest the logger.

    With a quarter, 0.45 of the rows or more remain as the effective size of the exact
    weights; with half, in rings and shops, a tenth.
    """
    best = np.eye(process.mdp.n_actions)[process.mdp.optimal_policy(process.discount)]
    table = (1.0 - share) * process.logger + share * best
    return TrustProblem(
        process,
        tabular(process.logger, process.codes),
        tabular(table, process.codes),
        about,
    )


def _lake(n_transitions: int) -> Finite:
    mdp = frozen_lake("4x4")
    best = np.eye(4)[mdp.optimal_policy(0.99)]
    codes = np.arange(16)[:, None].astype(float)
    name = f"FrozenLake 4x4, {n_transitions:,}"
    logger = 0.4 * best + 0.6 / 4
    return Finite(name, 0.99, mdp, codes, logger, n_transitions, 100)


# ----------------------------------------------------------------- states by measure


def _two_stage(n: int) -> TrustProblem:
    process = TwoStage(f"two stages, n = {n:,}", n)
    target = softmax(lambda s: np.stack([0.0 * s[:, 1], 0.5 + s[:, 1]], axis=1), 2)
    return TrustProblem(process, process.logger, target, f"{n:,} patients, two actions")


_INTERCEPTS = RandomIntercepts()
_RELIEF = softmax(
    lambda s: np.stack([0.0 * s[:, 0], 0.8 * s[:, 0], 0.5 * s[:, 1]], axis=1), 3
)
# Half the logger: where drugs add up the severity leaves what was logged.
_MILD = Probabilities(
    lambda s: (
        0.5 * _INTERCEPTS.logger.predict_proba(s) + 0.5 * _RELIEF.predict_proba(s)
    ),
    3,
)

_PRESSURE = BloodPressure()
_BY_TRAIT = softmax(lambda s: np.stack([0.0 * s[:, 0], 0.7 * s[:, 1]], axis=1), 2)

# --------------------------------------------------------------------------- amounts


def _linear_quadratic(
    name: str, slope: float, offset: float, deviation: float, covered: bool
) -> TrustProblem:
    known = {}

    def gaussian(slope: float, offset: float, deviation: float) -> Gaussian:
        policy = Gaussian(lambda s: offset + slope * s[:, 0], deviation)
        known[id(policy)] = (slope, offset, deviation)
        return policy

    process = LinearQuadratic(name, 200)
    logger, target = gaussian(-0.4, 0.3, 0.5), gaussian(slope, offset, deviation)
    return TrustProblem(
        process,
        logger,
        target,
        "200 episodes of 20, one amount",
        exact=lambda policy: process.exact(*known[id(policy)]),
        tenfold=LinearQuadratic(name, 2_000),
        covered=covered,
    )


class _Thermostats(Thermostat):
    # 0.95 ** 240 of a value is under a thousandth of an error; 0.95 ** 120 was half of
    # one of ten times as many weeks.
    value_length, value_episodes = 240, 1_000

    def __init__(self, n_episodes: int, name: str, n_observed: int) -> None:
        self.n_episodes = n_episodes  # type: ignore[misc]
        self.name, self.n_observed = name, n_observed  # type: ignore[misc]


def _cooling(at: float, warm: float, load: float, deviation: float) -> Gaussian:
    def mean(states: Array) -> Array:
        return at + warm * (states[:, 0] - 22.0) + load * (states[:, 1] - 1.25)

    return Gaussian(mean, deviation, (0.0, 100.0))


def _thermostat(name: str, n_observed: int) -> TrustProblem:
    return TrustProblem(
        _Thermostats(28, name, n_observed),
        _cooling(30.0, 10.0, 0.0, 14.0),
        _cooling(27.0, 9.5, 3.0, 11.0),
        "28 weeks of hours, one amount",
        # Longer logs, not more of them, would be another problem.
        tenfold=_Thermostats(280, name, n_observed),
    )


# ------------------------------------------------------------------------- a patient

_GLUCOSE = GlucoseDays("adult#003")
_GLUCOSE_TRUTH = GlucoseDays("adult#003", 4_000)  # days, of which a log has 60

# ---------------------------------------- added after the methods: see `trust.added`


def _added(
    process: Any, about: str, logits: Callable[[Array], list[Array]]
) -> TrustProblem:
    target = softmax(
        lambda s: np.stack(logits(s), axis=1), len(process.logger.classes_)
    )
    return TrustProblem(process, process.logger, target, about)


_ADDED = (
    _added(
        Costs(),
        "500 rows, 3 actions, costs without a largest one",
        lambda s: [s[:, 1], 0.0 * s[:, 0], 0.5 * s[:, 0]],
    ),
    _added(
        Screening(),
        "600 rows of a real table, an action of 4 %",
        lambda s: [0.5 * s[:, 7] - 2.5, -0.5 - 0.8 * s[:, 0], 0.0 * s[:, 0]],
    ),
    _added(
        Ending(),
        "200 episodes of up to 12, no discount, 0 or 1 at the end",
        lambda s: [0.0 * s[:, 0], -0.8 * s[:, 0]],
    ),
    _added(
        Survival(),
        "100 patients of 1 to 60 months",
        lambda s: [0.0 * s[:, 0], 0.5 - 0.8 * s[:, 1]],
    ),
)

_DISCOUNTS, _TITRATION = Discounts(2_000), Titration()
_AMOUNTS = (
    TrustProblem(
        _DISCOUNTS,
        _DISCOUNTS.logger,
        Gaussian(lambda s: 0.06 + 0.1 * s[:, 1], 0.03, (0.0, 0.3)),
        "2,000 rows, six columns, one amount that is often 0",
        tenfold=Discounts(20_000),
        setting={"action_type": "continuous"},
    ),
    TrustProblem(
        _TITRATION,
        _TITRATION.logger,
        Gaussian(lambda s: 3.0 + 2.0 * s[:, 0] + 0.5 * s[:, 1], 1.0, (0.0, 10.0)),
        "300 patients, five visits, one amount",
    ),
)

PROBLEMS: tuple[TrustProblem, ...] = (
    *_ROWS,
    *_EPISODES,
    _CLICKS,
    _finite(ring("ring of 15", 0.0, 15), "60 episodes of 30, 3 actions"),
    _finite(chain(15), "15 episodes, γ = 0.99", 0.5),
    _finite(_lake(4_000), "γ = 0.99", 0.5),
    _finite(stock_keeping(), "40 episodes of 50, 8 actions"),
    _finite(admission(), "40 episodes of 100, γ = 0.98"),
    _two_stage(300),
    _two_stage(2_000),
    TrustProblem(
        _INTERCEPTS, _INTERCEPTS.logger, _MILD, "100 patients, 5 to 20 visits"
    ),
    TrustProblem(
        _PRESSURE, _PRESSURE.logger, _BY_TRAIT, "100 patients, rewards far from 0"
    ),
    TrustProblem(
        _GLUCOSE,
        LOGGER,
        TARGET,
        "60 days of half hours, five doses of insulin",
        exact=_GLUCOSE_TRUTH.value_stochastic,
        requires="simglucose",
    ),
    _linear_quadratic("linear-quadratic", -0.5, 0.1, 0.4, True),
    _linear_quadratic("linear-quadratic, away", -0.8, -0.5, 0.2, False),
    # All weeks begin at midnight, and states do not say what hour it is: they are no
    # Markov process, so that a bias remains however long the log is.
    _thermostat("thermostat", 2),
    _thermostat("thermostat, hour shown", 3),
    *_ADDED,
    *_AMOUNTS,
)


def by_name(names: str | None) -> tuple[TrustProblem, ...]:
    """The problems whose names hold one of the parts, separated by ``|``."""
    found = named(PROBLEMS, names)
    if not found:
        known = [problem.name for problem in PROBLEMS]
        raise ValueError(f"No problem's name holds {names!r}; there are {known}.")
    for problem in found:
        if not problem.is_installed:
            print(f"Left out: {problem.name}. Install {problem.requires}.", file=stderr)
    return tuple(problem for problem in found if problem.is_installed)
