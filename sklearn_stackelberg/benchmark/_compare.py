"""`compare_methods`: every method that is installed, on the same folds of one log."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyClassifier, DummyRegressor

from .._typing import AnyArray, Flags, Floats, RandomStateLike
from .._validation import check_discount, check_level, check_rules, integer, one_of
from ..baselines import BehaviourCloning, ContinuousBehaviourCloning
from ..metrics._comparison import column_quantile, interval_at
from ..metrics._cross_fitted import HeldOutEvaluation, Splitter
from ..metrics._differences import difference
from ..metrics._estimate import OffPolicyEstimate
from ..metrics._logged_value import logged_value
from ..metrics._tabulate import is_continuous
from ..metrics._training_rows import TrainingRowsWarning
from ..transitions._as_transitions import LogOrStates, as_transitions
from ..transitions._transitions import Transitions
from ..transitions._usage import say_what_is_used
from ..transitions._weights import weighted
from ._encode import blocks_as_episodes, encoded
from ._measure import Measured
from ._methods import Facts, Method, choose
from ._results import ComparedMethod, MethodComparison

# Two thirds of the episodes learn, and a third evaluates: with more folds the evaluator
# has too few of a short log.
_FOLDS = 3

# Characters of a failure that a table has room for, and of a warning in a line.
_LONGEST, _OF_WARNING = 200, 100


def compare_methods(
    X: LogOrStates,
    y: ArrayLike | None = None,
    *,
    methods: str | Iterable[str] | Mapping[str, BaseEstimator] = "installed",
    discount: float = 0.99,
    cv: int | Splitter = _FOLDS,
    estimator: str = "doubly_robust",
    simultaneous: bool = True,
    confidence_level: float = 0.95,
    action_type: str = "auto",
    sample_weight: ArrayLike | None = None,
    random_state: int = 0,
    verbose: int = 0,
) -> MethodComparison:
    """Compare every method that is installed, or some, on one log.

    Episodes are divided into folds. Each method learns a policy without each fold, and
    its value is estimated on the fold alone, by one evaluator for all. Contributions of
    episodes are joined over the folds, so that a standard error is of all episodes, and
    the difference to the logger pairs what moves both alike.

    Parameters
    ----------
    X : Transitions, or array-like or DataFrame of shape (n, n_features)
        A log, or states. Text among states becomes indicators, and missing numbers
        medians and a column that says so, for all methods alike.
    y : DataFrame or structured array of shape (n,), default=None
        With states: the decision table, as in `StackelbergPolicyEstimator.fit`.
    methods : "installed", list of str, or dict of str to estimator, \
            default="installed"
        Which methods: all that are installed and can be given such a log; some by name;
        or estimators of your own by the names that the table gives them, with ``fit``
        of a `Transitions`, ``classes_`` and ``predict_proba``, or ``action_nodes``. A
        name that is not known is refused with those that are.
    discount : float, default=0.99
        γ, in [0, 1], of the values and of the methods; estimators of your own keep
        theirs. 0 counts the next reward alone.
    cv : int or splitter, default=3
        Number of folds of whole episodes, at most as many as there are; or what has
        ``split(log)``, such as `EpisodeKFold`. More leave more to learn from, and less
        to evaluate each policy by.
    estimator : {"doubly_robust", "fitted_q"}, default="doubly_robust"
        As in `value_difference`: by a fitted Q and what the fold's own episodes say
        against it, or by the fitted Q alone.
    simultaneous : bool, default=True
        Whether the intervals of a column hold all at once, so that the best of them may
        be looked at, or each alone.
    confidence_level : float, default=0.95
        Of the intervals, in (0, 1).
    action_type : {"auto", "discrete", "continuous"}, default="auto"
        As in `StackelbergPolicyEstimator`.
    sample_weight : array-like of shape (n,), default=None
        How often each row of X counts, as in `StackelbergPolicyEstimator.fit`.
    random_state : int, default=0
        Draws the folds, and seeds the methods and the evaluator.
    verbose : int, default=0
        1 prints a line for each method to the standard error stream.

    Returns
    -------
    MethodComparison
        ``print`` shows it as a table; ``to_frame``, ``to_markdown``, ``to_latex`` and
        ``to_csv`` make others.

    Raises
    ------
    ValueError
        If the log cannot be read, a method is not known, or all methods fail; one that
        fails is a row with its reason.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import Transitions
    >>> from sklearn_stackelberg.benchmark import compare_methods
    >>> rng = np.random.default_rng(0)
    >>> state, action = rng.normal(size=(200, 1)), rng.integers(2, size=200)
    >>> reward = (state[:, 0] > 0) * action + rng.normal(size=200)
    >>> log = Transitions(state, action, reward, state, terminated=np.ones(200))
    >>> chosen = ["best single action", "direct ridge", "stackelberg"]
    >>> found = compare_methods(log, methods=chosen, discount=0.0)
    >>> [row.method for row in found.rows]
    ['Logger', 'Best single action', 'Direct ridge', 'Stackelberg']
    """
    check_discount(discount)
    check_level(confidence_level)
    check_rules(
        {"estimator": estimator, "random_state": random_state},
        {"estimator": one_of("doubly_robust", "fitted_q"), "random_state": integer(0)},
    )
    if isinstance(cv, int | np.integer):
        check_rules({"cv": cv}, {"cv": integer(2)})
    found = as_transitions(cast(Any, X), y, return_rows=True)
    log = weighted(*found, X, y, sample_weight)
    # What is lost to all methods is said once, and not by each of their fits.
    say_what_is_used(log, discount, stacklevel=2)
    log = encoded(blocks_as_episodes(log))
    facts = Facts.of(log, discount, action_type)
    chosen = choose(methods, facts)
    evaluation = _evaluation(log, discount, cv, facts, confidence_level, random_state)
    logger = logged_value(log, discount=discount, confidence_level=confidence_level)
    rows = []
    for number, method in enumerate(chosen.methods, 1):
        if verbose:
            counted = f"[{number}/{len(chosen.methods)}]"
            print(f"{counted} {method.name} ...", end=" ", file=sys.stderr, flush=True)
        row = _run(method, evaluation, estimator, facts, random_state)
        rows.append(row)
        if verbose:
            print(_progress(row), file=sys.stderr, flush=True)
    if all(row.estimate is None for row in rows):
        reasons = "; ".join(f"{row.method}: {row.failure}" for row in rows)
        why = reasons or "; ".join(f"{k}: {v}" for k, v in chosen.skipped.items())
        raise ValueError(f"No method could be fitted and evaluated on the log. {why}")
    return MethodComparison(
        _with_intervals(logger, rows, simultaneous, confidence_level, random_state),
        chosen.skipped,
        confidence_level,
        simultaneous,
        discount,
        evaluation.n_folds,
        evaluation.data.n_episodes,
        len(log),
    )


def _evaluation(
    log: Transitions,
    discount: float,
    cv: int | Splitter,
    facts: Facts,
    confidence_level: float,
    random_state: int,
) -> HeldOutEvaluation:
    # By shares of the actions, whatever the state: no method's features, but the log's.
    first = (
        BehaviourCloning(DummyClassifier(strategy="prior"))
        if facts.action_type == "discrete"
        else ContinuousBehaviourCloning(DummyRegressor())
    )
    return HeldOutEvaluation(
        log, discount, cv, first.fit(log), confidence_level, random_state
    )


def _run(
    method: Method,
    evaluation: HeldOutEvaluation,
    estimator: str,
    facts: Facts,
    seed: int,
) -> ComparedMethod:
    """Learn a policy without each fold, and estimate what they are worth."""
    if reason := method.not_for(facts):
        return ComparedMethod(method.name, None, failure=f"it is {reason}")
    log, policies, said = evaluation.log, [], []
    seconds, megabytes = [], []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Of few states some rows of a fold are those of another by chance.
        warnings.simplefilter("ignore", TrainingRowsWarning)
        try:
            for train, _ in evaluation.splits:
                one = clone(method.make(evaluation.discount, seed, facts.action_type))
                part = log[train]
                with Measured() as measured:
                    policy = one.fit(part)
                policies.append(_on_all_actions(policy, log))
                seconds.append(measured.seconds)
                megabytes.append(measured.megabytes)
            found = evaluation.value(policies, estimator)
            outcomes = evaluation.outcomes(policies)
        # Whatever a method of somebody else's raises, the others are still of use.
        except Exception as error:
            return ComparedMethod(method.name, None, failure=_reason(error))
        said = [str(one.message) for one in caught]
    return ComparedMethod(
        method.name,
        found,
        seconds=float(np.mean(seconds)),
        megabytes=float(np.max(megabytes)),
        outcomes=outcomes,
        warnings=tuple(dict.fromkeys(said)),
    )


def _reason(error: Exception) -> str:
    text = _shortened(str(error), _LONGEST) or "no message"
    # A sentence says what is wrong; of another error the kind is part of that.
    plain = isinstance(error, ValueError | ImportError)
    return text if plain else f"{type(error).__name__}: {text}"


def _shortened(text: str, longest: int) -> str:
    """A text in one line, cut between two words."""
    text = " ".join(text.split())
    return text if len(text) <= longest else text[:longest].rsplit(" ", 1)[0] + " ..."


def _progress(row: ComparedMethod) -> str:
    if row.estimate is None:
        return f"failed: {row.failure}"
    text = f"{row.estimate.value:.4g} ± {row.estimate.standard_error:.2g}"
    text += f", {row.seconds:.2f} s a fit"
    if n := len(row.warnings):
        first = _shortened(row.warnings[0], _OF_WARNING)
        text += f" ({n} warning{'s' * (n != 1)}, first: {first})"
    return text


def _with_intervals(
    logger: OffPolicyEstimate,
    rows: list[ComparedMethod],
    simultaneous: bool,
    level: float,
    random_state: RandomStateLike,
) -> tuple[ComparedMethod, ...]:
    """The rows behind the logger's, with intervals and differences to it."""
    values = [logger, *(row.estimate for row in rows)]
    less = [None if one is None else difference(one, logger) for one in values[1:]]
    quantiles: list[float | None] = [None, None]
    if simultaneous:
        columns = tuple(values), tuple(less)
        quantiles = [column_quantile(c, level, random_state) for c in columns]
    out = [ComparedMethod("Logger", logger, interval_at(logger, quantiles[0]))]
    for row, one in zip(rows, less, strict=True):
        if row.estimate is not None and one is not None:
            row = row._replace(
                interval=interval_at(row.estimate, quantiles[0]),
                difference=one,
                difference_interval=interval_at(one, quantiles[1]),
            )
        out.append(row)
    return tuple(out)


class _OnAllActions:
    """A policy that knows fewer actions than the log: it never takes the others."""

    def __init__(self, policy: Any, classes: AnyArray) -> None:
        self.classes_, self._policy = classes, policy
        self._own = np.searchsorted(classes, policy.classes_)

    def predict_proba(self, states: Any, available: Flags | None = None) -> Floats:
        given = {} if available is None else {"available": available[:, self._own]}
        out = np.zeros((len(states), len(self.classes_)))
        out[:, self._own] = self._policy.predict_proba(states, **given)
        return out


def _on_all_actions(policy: Any, log: Transitions) -> Any:
    """The policy of a fold that lacks an action, on the whole log."""
    if is_continuous(policy) or not hasattr(policy, "classes_"):
        return policy
    classes = np.unique(log.action)
    if len(np.setdiff1d(classes, policy.classes_)) == 0:
        return policy
    return _OnAllActions(policy, classes)
