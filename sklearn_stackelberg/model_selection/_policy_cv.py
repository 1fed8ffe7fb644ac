"""A policy whose settings are chosen on held-out episodes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.model_selection import KFold, StratifiedKFold, check_cv
from sklearn.utils import Tags, check_random_state, indexable
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted

from .. import _fitting
from .._problem.action_space import Actions, read_actions
from .._typing import Index
from .._validation import check_level, check_rules, integer
from ..estimator import Available, Log, StackelbergPolicyEstimator
from ..transitions._decision_table import is_table
from ..transitions._discounting import row_discount
from ..transitions._episodes import EpisodeView
from ..transitions._transitions import Transitions
from ._folds import BlockKFold, EpisodeKFold
from ._grid import Grid
from ._halving import Halving
from ._held_out import Given, Scorer, Split, Tuned
from ._search_results import as_results, in_words

if TYPE_CHECKING:
    from ..metrics._selected_value import SelectedValue

# Without a splitter: two thirds of the log lead to nearly the policy of all of it.
_FOLDS = 3


def _has(name: str) -> Callable[[StackelbergPolicyCV], bool]:
    """Whether the policy has a method, fitted or not."""

    def check(self: StackelbergPolicyCV) -> bool:
        fitted = getattr(self, "best_estimator_", None)
        policy = Tuned.of(fitted).policy if fitted is not None else self._tuned().policy
        getattr(policy, name)  # not hasattr: its own AttributeError says more
        return True

    return check


class StackelbergPolicyCV(MetaEstimatorMixin, BaseEstimator):
    """A policy learned from logged transitions, with its settings chosen on the log.

    As `sklearn.linear_model.RidgeCV` is beside ``Ridge``: λ, β, the ridge, the kernel,
    its bandwidth and the support of `StackelbergPolicyEstimator` are chosen by the
    value of the policies on held-out episodes, and the policy is learned from all of
    them. Not all combinations are tried: first features and supports one step from the
    estimator's own, at two levels of λ and ridge, then λ, β and ridge around the best,
    and onward where that helped. All are compared on the same splits; three of four are
    dropped after each. Those of the same features share them, the estimate of the
    behaviour policy and the features that they are scored in. Chosen is what is surest
    to be better than the estimator's own setting: whose score is higher by the most,
    less two standard errors. ``docs/search.md`` says more.

    Parameters
    ----------
    estimator : StackelbergPolicyEstimator or Pipeline, default=None
        What is not chosen, such as `initial_states` or `n_components`; a pipeline ends
        in one, and its other steps are fitted on the training part of each split. Its
        own settings are always among the candidates. None is the defaults.
    discount : float, default=None
        γ. None is the estimator's own, 0.99.
    lams, betas, ridges, supports : sequence of float
        What `lam`, `beta`, `ridge` and `support` are chosen among, > 0 or, for the last
        two, >= 0; among `supports` may be ``"auto"``.
    kernels : sequence, default=("both", "local", "linear")
        ``"both"`` is the estimator's kernel with linear terms, ``"local"`` without, and
        ``"linear"`` functions linear in the standardised states; of continuous actions,
        the kernel on state and action alone. Or any other `kernel` of the estimator.
    bandwidths : sequence, default=("relevance", 0.5, 1.0, 2.0)
        ``"relevance"``, or multiples of the median lengths, for kernels that have any.
    cv : int, splitter or iterable of (train, test), default=None
        An integer is so many folds of whole episodes, shuffled; of fewer episodes,
        blocks of time (`BlockKFold`). None is 3.
    scoring : callable, default=None
        ``scorer(estimator, X, y)``, such as those of `model_selection`; larger is
        better. None is the estimator's own `score`, which ranks best over problems.
    confidence_level : float, default=0.95
        In (0, 1), of the interval of ``value_``.
    n_jobs : int, default=None
        Threads that fit candidates of different features side by side. The results are
        the same for any number.
    random_state : int, RandomState instance or None, default=None
        Shuffles the episodes, and seeds an estimator that has no seed of its own.
    verbose : int, default=0
        1 prints a line for each split of each round.

    Attributes
    ----------
    best_estimator_ : StackelbergPolicyEstimator or Pipeline
        With the best settings, fitted on the whole log.
    best_params_ : dict
        What was chosen, as `set_params` of the estimator takes it.
    best_index_ : int
        Where it stands in ``cv_results_``.
    best_score_ : float
        Its mean score over the splits. Of the largest of many it is too good;
        ``value_`` is not.
    value_ : SelectedValue or None
        What the policies are worth that are chosen so, doubly robust: each split has
        the policy of the candidate that is best on the others, and nothing in its value
        has seen the episodes that it is of. Its interval is for as many candidates as
        were tried (Bonferroni), so that it holds although the best was chosen. None
        where the splits leave rows untested, or where the value cannot be estimated.
    cv_results_ : dict of str to ndarray
        As of `GridSearchCV`, a row for each candidate in the order of trying. Those
        that were dropped have NaN on the splits that they were not scored on, means
        over the others, and rank behind those that got further; ``n_splits_scored``
        says how far each got, ``dropped`` whether it was, and ``round`` when it was
        tried.
    summary_ : str
        In words: what was chosen, how sure that is, whether an end of a grid was hit,
        and what to try next.
    grid_ends_ : dict of str to str
        The parameters whose chosen value is ``"lowest"`` or ``"highest"`` of three or
        more.
    n_splits_ : int
    refit_time_ : float
        Seconds of the last fit.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        By `fit`, if no candidate has a score on every split, with the reasons; if a
        parameter or an option is out of range; and as the estimator does.

    See Also
    --------
    StackelbergPolicyEstimator : One setting, and what each of them means.
    sklearn_stackelberg.model_selection.PessimisticRefit : For `GridSearchCV`, which
        takes any parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyCV, Transitions
    >>> rng = np.random.default_rng(0)
    >>> x, drug = rng.uniform(-1, 1, size=(300, 1)), rng.integers(2, size=300)
    >>> reward = np.where(drug == 1, x[:, 0], 0.0) + 0.3 * rng.normal(size=300)
    >>> log = Transitions(x, drug, reward, x, np.ones(300), episode=np.arange(300))
    >>> search = StackelbergPolicyCV(discount=0.0, random_state=0).fit(log)
    >>> search.predict([[-0.5], [0.5]])
    array([0, 1])
    >>> low, high = search.value_.confidence_interval
    >>> bool(low < 0.25 < high)  # the best policy earns 0.25
    True
    """

    def __init__(
        self,
        estimator: BaseEstimator | None = None,
        *,
        discount: float | None = None,
        lams: Sequence[float] = (1.0, 10.0, 100.0, 1000.0),
        betas: Sequence[float] = (1e-3, 1e-2, 0.1, 1.0),
        ridges: Sequence[float] = (0.0, 1e-5, 1e-4, 1e-3),
        kernels: Sequence[Any] = ("both", "local", "linear"),
        bandwidths: Sequence[Any] = ("relevance", 0.5, 1.0, 2.0),
        supports: Sequence[float | str] = ("auto", 0.01),
        cv: Any = None,
        scoring: Scorer | None = None,
        confidence_level: float = 0.95,
        n_jobs: int | None = None,
        random_state: int | RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.discount = discount
        self.lams = lams
        self.betas = betas
        self.ridges = ridges
        self.kernels = kernels
        self.bandwidths = bandwidths
        self.supports = supports
        self.cv = cv
        self.scoring = scoring
        self.confidence_level = confidence_level
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        """As of the policy: y may be given, and holds the decisions."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def fit(
        self, X: Log, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Choose the settings, and learn the policy with them.

        Parameters
        ----------
        X, y, sample_weight
            As in `StackelbergPolicyEstimator.fit`.

        Returns
        -------
        StackelbergPolicyCV
            Itself, fitted.
        """
        check_level(self.confidence_level)
        check_rules({"verbose": int(self.verbose)}, {"verbose": integer(0)})
        rng = check_random_state(self.random_state)
        tuned = self._tuned(rng)
        # As in scikit-learn's searches: what cannot be indexed becomes an array.
        X, y = indexable(X, y)
        given = Given(X, y, sample_weight)
        with warnings.catch_warnings():
            # What there is to say of the log, the last fit says.
            warnings.simplefilter("ignore")
            halving, value = self._search(tuned, given, rng)
        best, grid = halving.chosen, halving.grid
        begin = time.perf_counter()
        best_estimator = tuned.fitted(given, grid.params(best))
        seconds = time.perf_counter() - begin
        results = as_results(halving, tuned)
        for note in value.notes if value else ():
            warnings.warn(note, stacklevel=2)

        # Only here, so that a search that fails leaves nothing that looks fitted.
        self.best_estimator_ = best_estimator
        self.best_params_ = tuned.prefixed(grid.params(best))
        self.best_index_ = list(halving.found).index(best)
        self.best_score_ = float(results["mean_test_score"][self.best_index_])
        self.cv_results_ = results
        self.value_ = value
        self.grid_ends_ = tuned.prefixed(grid.ends(best))
        self.summary_ = in_words(halving, tuned, value)
        self.n_splits_ = len(halving.splits)
        self.refit_time_ = seconds
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
            if hasattr(best_estimator, name):
                setattr(self, name, getattr(best_estimator, name))
        return self

    def _tuned(self, rng: RandomState | None = None) -> Tuned:
        """What is searched, a copy, with the discount and the seed of the search."""
        given = self.estimator
        estimator = StackelbergPolicyEstimator() if given is None else clone(given)
        tuned = Tuned.of(estimator)
        if not isinstance(tuned.policy, StackelbergPolicyEstimator):
            raise TypeError(
                "estimator must be a StackelbergPolicyEstimator, or a Pipeline that "
                f"ends in one, got {given!r}. Tune other estimators by GridSearchCV."
            )
        if self.discount is not None:
            tuned.policy.set_params(discount=self.discount)
        if rng is not None:
            seed = int(rng.randint(2**31 - 1))
            if tuned.policy.random_state is None:
                tuned.policy.set_params(random_state=seed)
            # A search goes on from nothing, and prints by its own verbose.
            tuned.policy.set_params(warm_start=False)
        return tuned

    def _search(
        self, tuned: Tuned, given: Given, rng: RandomState
    ) -> tuple[Halving, SelectedValue | None]:
        from .._problem.dataset import OfflineProblem

        log, rows = given.log()
        policy: Any = tuned.policy
        hp = _fitting.Hyperparameters.from_estimator(policy)
        if tuned.head is None:
            # Refused in the words of a single fit; what a pipeline makes of it, later.
            OfflineProblem.from_log(
                log,
                discount=hp.discount,
                initial_states=hp.initial_states,
                estimator=self,
            )
        actions, _ = read_actions(log, hp.action_type, hp.action_bounds)
        grid = Grid(
            hp,
            actions.type == "continuous",
            row_discount(log, hp.discount),
            lams=self.lams,
            betas=self.betas,
            ridges=self.ridges,
            kernels=self.kernels,
            bandwidths=self.bandwidths,
            supports=self.supports,
        )
        # What is wrong with an option is said before anything is fitted.
        for option in grid.options():
            _fitting.Hyperparameters.from_estimator(clone(policy).set_params(**option))
        first = grid.largest_support(hp)
        pairs = self._pairs(given, log, actions, rng)
        if isinstance(given.X, EpisodeView):
            given = given._replace(X=given.X.transitions)
        splits = [
            Split(given, train, test, tuned, first, self.scoring)
            for train, test in pairs
        ]
        halving = Halving(grid, splits, self.n_jobs, int(self.verbose))
        halving.run()
        return halving, self._value(halving, log, rows, hp.discount)

    def _pairs(
        self, given: Given, log: Transitions, actions: Actions, rng: RandomState
    ) -> list[tuple[Index, Index]]:
        """Training and test rows of each split."""
        X, y = given.X, given.y
        seed = int(rng.randint(2**31 - 1))
        if self.cv is not None and not isinstance(self.cv, int | np.integer):
            pairs = list(check_cv(self.cv).split(X, y))
            if not isinstance(X, EpisodeView):
                return pairs
            # Of episodes, whose rows are those of the log.
            codes = X.codes
            return [
                (
                    np.flatnonzero(np.isin(codes, train)),
                    np.flatnonzero(np.isin(codes, test)),
                )
                for train, test in pairs
            ]
        n_splits = _FOLDS if self.cv is None else int(self.cv)
        X = X.transitions if isinstance(X, EpisodeView) else X
        alone = y is not None and not is_table(y)
        if log.episode is None or alone:
            # Rows of no known episode are each taken as independent: each split has as
            # many of each label.
            discrete = actions.type == "discrete" and len(log) == _num_samples(X)
            kind = StratifiedKFold if discrete else KFold
            folds = kind(n_splits, shuffle=True, random_state=seed)
            return list(folds.split(np.zeros(_num_samples(X)), log.action))
        if len(np.unique(log.episode)) < n_splits:
            return list(BlockKFold(n_splits).split(X, y))
        folds = EpisodeKFold(n_splits, shuffle=True, random_state=seed)
        return list(folds.split(X, y))

    def _value(
        self, halving: Halving, log: Transitions, rows: Index, discount: float
    ) -> SelectedValue | None:
        from ..metrics._selected_value import selected_value

        splits = halving.splits
        tested = np.concatenate([split.test for split in splits])
        # What is tested twice, or never, has no policy of its own.
        if len(np.unique(tested)) < len(tested) or not np.isin(rows, tested).all():
            return None
        parts = []
        for place, split in enumerate(splits):
            others = np.delete(np.arange(len(splits)), place)
            # The choice of the other splits, so that the value is not that of the
            # candidate that was luckiest on this one.
            best = halving.choice(others)
            policy = halving.found[best][place].policy
            assert policy is not None
            parts.append(split.held_out(policy, log, rows))
        try:
            return selected_value(
                parts, discount, len(halving.found), self.confidence_level
            )
        except ValueError:
            # Of a log that no policy can be valued on, the choice stands.
            return None

    def _seen(self, X: Log) -> tuple[Any, Any]:
        """The policy, and X as it sees it."""
        check_is_fitted(self, "best_estimator_")
        tuned = Tuned.of(self.best_estimator_)
        return tuned.policy, X if tuned.head is None else tuned.head.transform(X)

    @property
    def classes_(self) -> ArrayLike:
        """Discrete actions, as given, sorted."""
        check_is_fitted(self, "best_estimator_")
        return Tuned.of(self.best_estimator_).policy.classes_

    def predict(self, X: Log, available: Available = None) -> Any:
        """As `StackelbergPolicyEstimator.predict`, by the best estimator.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions
        available : array-like, DataFrame or callable, default=None

        Returns
        -------
        ndarray of shape (n,) or (n, n_action_columns)
        """
        policy, X = self._seen(X)
        return policy.predict(X, available)

    def predict_proba(self, X: Log, available: Available = None) -> Any:
        """As `StackelbergPolicyEstimator.predict_proba`, by the best estimator.

        Parameters
        ----------
        X, available
            As in `predict`.

        Returns
        -------
        ndarray of shape (n, n_actions)
        """
        policy, X = self._seen(X)
        return policy.predict_proba(X, available)

    def q_values(
        self, X: Log, action: ArrayLike | None = None, return_std: bool = False
    ) -> Any:
        """As `StackelbergPolicyEstimator.q_values`, by the best estimator.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions
        action : array-like of shape (n,) or (n, n_action_columns), default=None
        return_std : bool, default=False

        Returns
        -------
        ndarray of shape (n, n_actions) or (n,), or two of them
        """
        policy, X = self._seen(X)
        return policy.q_values(X, action, return_std)

    @available_if(_has("predict_set"))
    def predict_set(
        self, X: Log, confidence_level: float = 0.95, available: Available = None
    ) -> Any:
        """As `StackelbergPolicyEstimator.predict_set`, by the best estimator.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions
        confidence_level : float, default=0.95
        available
            As in `predict`.

        Returns
        -------
        ndarray of bool of shape (n, n_actions)
        """
        policy, X = self._seen(X)
        return policy.predict_set(X, confidence_level, available)

    @available_if(_has("predict_interval"))
    def predict_interval(self, X: Log, confidence_level: float = 0.95) -> Any:
        """As `StackelbergPolicyEstimator.predict_interval`, by the best estimator.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions
        confidence_level : float, default=0.95

        Returns
        -------
        low, high : ndarrays of shape (n,) or (n, n_action_columns)
        """
        policy, X = self._seen(X)
        return policy.predict_interval(X, confidence_level)

    @available_if(_has("action_nodes"))
    def action_nodes(self, X: Log) -> Any:
        """As `StackelbergPolicyEstimator.action_nodes`, by the best estimator.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions

        Returns
        -------
        actions : ndarray of shape (n, n_nodes, n_action_columns)
        weights : ndarray of shape (n, n_nodes)
        """
        policy, X = self._seen(X)
        return policy.action_nodes(X)

    def sample(
        self,
        X: Log,
        random_state: int | RandomState | None = None,
        available: Available = None,
    ) -> Any:
        """As `StackelbergPolicyEstimator.sample`, by the best estimator.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions
        random_state : int, RandomState instance or None, default=None
        available
            As in `predict`.

        Returns
        -------
        ndarray of shape (n,) or (n, n_action_columns)
        """
        policy, X = self._seen(X)
        return policy.sample(X, random_state, available)

    def score(
        self, X: Log, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Value of the best estimator on a held-out log, by `scoring` if that is given.

        Parameters
        ----------
        X, y, sample_weight
            As in `StackelbergPolicyEstimator.score`.

        Returns
        -------
        float
        """
        check_is_fitted(self, "best_estimator_")
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        if self.scoring is not None:
            return float(self.scoring(self.best_estimator_, X, y, **weights))
        policy, X = self._seen(X)
        return policy.score(X, y, **weights)
