"""The estimator: hyperparameters to a game, the game to a solver, and what it found."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from ._evaluation.judged import judge
from ._evaluation.learned import learn_evaluation
from ._log.views import EpisodeView
from ._parameters import check_parameters, check_table_size
from .calibration import PlayedPolicy, calibrate
from .equilibrium import measure_equilibrium
from .followers import LinearQ
from .game import anchored_reward, average_value
from .kernels import LandmarkFeatures
from .leaders import SoftmaxPolicy
from .solvers import ClosedFormSolver, Rows, RowSums, SolverResult
from .solvers.rows import feature_rows, index_states
from .transitions import Transitions, as_transitions, shared_next_rows


class StackelbergPolicyEstimator(BaseEstimator):
    """A policy learned from logged transitions, against a pessimistic Q-function.

    The policy π_θ leads and maximises v(w*(θ), θ), the value that the follower grants
    it; the follower answers with

        w*(θ) = argmin_w v(w, θ) + λ n E_K(w, θ) + (β/2) |w|²,

    the Q-function that makes the policy look worst among those that agree with the log,
    E_K being the kernel-embedded weighted average Bellman error [1]_. The leader climbs
    the total derivative of v, that is, it knows how the follower will answer.

    Parameters
    ----------
    discount : float, default=0.99
        Weight of a reward one step later, in [0, 1). Larger looks further ahead.
    lam : float or "calibrated", default=3.0
        λ > 0, weight of the Bellman error. Larger makes the Q-function agree more with
        the logged transitions and be less pessimistic. The unit is the same for every
        log: rewards are divided by their root mean square, and λ multiplies n E_K.
        ``"calibrated"`` tries a few, takes the one whose policy has the highest floor
        under its value at `confidence_level`, and reports that floor as
        ``policy_value_``: about three fits and as many evaluations.
    confidence_level : float, default=0.95
        In (0, 1), of the floor that ``lam="calibrated"`` asks for. Larger puts it
        lower. Not used otherwise.
    beta : float, default=1e-3
        β > 0, curvature of the follower's objective. Larger keeps Q smaller where the
        log is silent, and makes the follower answer more smoothly.
    ridge : float, default=0.0
        ρ >= 0: beside the n rows of the log, every direction of the features has ρ n
        rows after which the episode ends, worth `anchor_`. Larger draws the values
        there where the log is thin, step after step, as the ridge of fitted-Q
        evaluation does (which is the limit as λ grows). It can help where the log
        covers little (1e-4 is a good first try), but ``policy_value_`` is then no
        longer pessimistic. 0 is the game of [1]_.
    kernel : str, callable or Kernel, default="rbf"
        Similarity of states: a name of `sklearn.metrics.pairwise.pairwise_kernels` with
        a positive semi-definite Gram matrix, ``"delta"`` for finite states (equal or
        not), a callable ``kernel(X, Y)`` that returns the Gram matrix, or a
        `sklearn.gaussian_process.kernels.Kernel`. Actions are told apart exactly.
    bandwidth : float, array-like of shape (n_features,) or "median", default="median"
        Length scale of ``"rbf"``, ``"laplacian"`` and ``"chi2"``, in the units of the
        states: one for all columns, or one for each. Larger makes Q and the policy
        smoother. ``"median"`` gives each column its standard deviation, times the
        median distance between states so scaled, so that columns in different units
        need no scaler.
    kernel_params : dict, default=None
        The kernel's other parameters, such as ``{"degree": 2}``.
    n_components : int or None, default=200
        Landmarks that the kernel is represented on. Larger is more exact and costs its
        square. None makes every distinct logged state a landmark; so does a number that
        is at least theirs.
    initial_states : {"first", "all"}, default="all"
        Where the value is counted from: the first state of each episode, as in [1]_, or
        every logged state, which steadies the learning where logs are short.
    leader_gradient : {"total", "individual"}, default="total"
        The derivative the leader climbs after its mirror steps. ``"individual"`` holds
        w fixed while the leader steps: an ablation.
    mirror_steps : int, default=40
        At most so many mirror steps, with which every climb begins.
    max_iter : int, default=50
        At most so many steps along the derivative, after the mirror steps.
    tol : float, default=1e-2
        Relative gain of the value under which the climb ends. Smaller climbs further,
        which raises ``policy_value_`` and, past what the log supports, not the policy's
        true value.
    dtype : {"float64", "float32"}, default="float64"
        Precision of the features. ``"float32"`` halves memory and time on large logs.
    random_state : int, RandomState instance or None, default=None
        Draws the landmarks. The same number gives bit-identical fits on one machine.

    Attributes
    ----------
    classes_ : ndarray of shape (n_actions,)
        The actions, as given, sorted.
    policy_ : SoftmaxPolicy
        π_θ on features: a torch module.
    q_function_ : LinearQ
        q_w on features, in units of discounted return: a torch module.
    features_ : LandmarkFeatures
        The map from states to features.
    policy_value_ : float
        The pessimistic value of the policy, in units of discounted return: the mean
        over initial states of what the follower grants it. With ``lam="calibrated"``
        the floor: fitted-Q value less quantile times standard error.
    pessimism_ : float
        How far ``policy_value_`` lies below the ridge estimate of the same value; with
        ``lam="calibrated"``, below its fitted-Q value.
    lam_ : float
        The weight that was played with.
    floor_ : Floor or None
        What ``lam="calibrated"`` found: ``value``, ``standard_error``, ``quantile`` and
        ``limit``, the floor itself. ``docs/floor.md`` says what it promises.
    bandwidth_ : ndarray of shape (n_features_in_,) or None
        The length scale of each column; None for kernels without one.
    evaluation_ : LearnedEvaluation
        Q of the policy and its density ratios on the training log, without pessimism
        and by the evaluator's settings: what `score` starts from.
    equilibrium_ : Equilibrium
        First- and second-order conditions at the fitted point.
    history_ : dict of str to list
        One entry per evaluation: ``value`` and ``pessimism`` in units of discounted
        return, ``follower_objective``, ``bellman_error`` and ``leader_gradient_norm``
        (NaN in mirror steps) in the units of the game, ``seconds`` since the start.
    reward_scale_ : float
        What rewards were divided by: their root mean square.
    anchor_ : float
        What Q is drawn to where the log is silent: 0, or the discounted return of an
        average row that terminates as often as the log's do, if that is less.
    n_iter_ : int
        Steps that the leader took.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        By `fit`, in a sentence, if a parameter or the log cannot be used: missing or
        infinite values, fewer than two actions, a kernel that is not positive
        semi-definite, a game that would not fit in memory.

    Warns
    -----
    ConvergenceWarning
        If the value was still rising when the iterations ran out.
    UserWarning
        If ``initial_states="first"`` and no logged row is the first of its episode.

    See Also
    --------
    sklearn_stackelberg.Transitions : The log that `fit` takes.

    References
    ----------
    .. [1] W. Zhou, A. Qu. "Stackelberg Batch Policy Learning", arXiv 2309.16188, 2023.

    Examples
    --------
    A patient is ill (1) or well (0); treatment cures and costs a little.

    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> rng = np.random.default_rng(0)
    >>> ill = rng.integers(2, size=(200, 1))
    >>> action = rng.choice(["treat", "wait"], size=200)
    >>> treated = action == "treat"
    >>> still_ill = np.where(treated, 0, ill[:, 0])[:, None]
    >>> log = Transitions(ill, action, -ill[:, 0] - 0.2 * treated, still_ill)
    >>> policy = StackelbergPolicyEstimator(discount=0.9, kernel="delta").fit(log)
    >>> policy.predict([[0], [1]]).tolist()
    ['wait', 'treat']
    """

    def __init__(
        self,
        *,
        discount: float = 0.99,
        lam: float | str = 3.0,
        confidence_level: float = 0.95,
        beta: float = 1e-3,
        ridge: float = 0.0,
        kernel: Any = "rbf",
        bandwidth: float | ArrayLike = "median",
        kernel_params: dict[str, Any] | None = None,
        n_components: int | None = 200,
        initial_states: str = "all",
        leader_gradient: str = "total",
        mirror_steps: int = 40,
        max_iter: int = 50,
        tol: float = 1e-2,
        dtype: str = "float64",
        random_state: Any = None,
    ) -> None:
        self.discount = discount
        self.lam = lam
        self.confidence_level = confidence_level
        self.beta = beta
        self.ridge = ridge
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.kernel_params = kernel_params
        self.n_components = n_components
        self.initial_states = initial_states
        self.leader_gradient = leader_gradient
        self.mirror_steps = mirror_steps
        self.max_iter = max_iter
        self.tol = tol
        self.dtype = dtype
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        """An estimator of its own kind: y may be given, and holds the decisions."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def fit(self, X: Any, y: Any = None) -> StackelbergPolicyEstimator:
        """Learn a policy.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, n_features)
            A log, or states.
        y : DataFrame or structured array of shape (n,), or 1-D array-like, default=None
            With states: a table of what was done in them, row by row, with the columns
            ``action`` and ``reward`` and, where there are any, ``episode``, ``step``,
            ``terminated``, ``propensity`` and ``is_initial`` (see `as_transitions`); or
            the actions alone, each of which then counts as a success. None with a log.

        Returns
        -------
        StackelbergPolicyEstimator
            Itself, fitted.
        """
        check_parameters(self)
        log = as_transitions(X, y)
        state, next_state = self._logged_states(log)
        classes, codes = _encode_actions(log.action)
        features = LandmarkFeatures(
            self.kernel,
            bandwidth=self.bandwidth,
            kernel_params=self.kernel_params,
            n_components=self.n_components,
            dtype=self.dtype,
            random_state=check_random_state(self.random_state),
        ).fit(state)
        check_table_size(len(classes), features.n_features_out_)
        reward_scale = _root_mean_square(log.reward)
        anchor = average_value(log.reward, log.terminated, self.discount)
        rows = self._rows(
            log, state, next_state, features, codes, len(classes), reward_scale, anchor
        )
        sums = RowSums(rows, self.discount, self.ridge)
        uniform = torch.zeros(sums.n_features, len(classes), dtype=torch.float64)

        def solve(lam: float) -> SolverResult:
            return self._solver(lam).solve(sums, [uniform])

        def policy(theta: Tensor) -> PlayedPolicy:
            return PlayedPolicy(classes, features, theta)

        if isinstance(self.lam, str):
            counted = log[:]
            if self.initial_states == "all":
                counted.is_initial = np.ones(len(log), dtype=bool)
            lam, result, floor = calibrate(
                solve, policy, counted, self.discount, self.confidence_level
            )
        else:
            lam, result, floor = float(self.lam), solve(self.lam), None
        equilibrium = measure_equilibrium(self._solver(lam), sums, result.theta)
        evaluation = learn_evaluation(policy(result.theta), log, self.discount)

        if result.shortfall:
            warnings.warn(result.shortfall, ConvergenceWarning, stacklevel=2)
        # Nothing after this line can fail, and only it and those after it set anything,
        # so that a fit that fails leaves nothing that looks fitted.
        validate_data(self, X=log.state, skip_check_array=True)
        self.classes_ = classes
        self.features_ = features
        self.bandwidth_ = features.bandwidth_
        self.reward_scale_ = reward_scale
        self.policy_ = SoftmaxPolicy(result.theta)
        self.q_function_ = LinearQ(result.w * reward_scale)
        unit = reward_scale / (1.0 - self.discount)
        self.anchor_ = anchor
        self.evaluation_ = evaluation
        self.lam_ = lam
        self.floor_ = floor
        self.policy_value_ = anchor + result.value * unit
        self.pessimism_ = result.pessimism * unit
        if floor is not None:
            self.policy_value_, self.pessimism_ = floor.limit, floor.pessimism
        self.equilibrium_ = equilibrium
        self.history_ = result.history.rescaled(anchor, unit)
        self.n_iter_ = result.n_iter
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable action in each state.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions
            States, or a log whose states are taken.

        Returns
        -------
        ndarray of shape (n,)
            Labels as in ``classes_``.
        """
        check_is_fitted(self)
        return self.classes_[self._project(X, "policy_").argmax(axis=1)]

    def predict_proba(self, X: Any) -> NDArray[np.floating]:
        """Probability of every action in each state.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions

        Returns
        -------
        ndarray of shape (n, n_actions)
            Columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        logits = torch.from_numpy(self._project(X, "policy_"))
        return torch.softmax(logits, dim=1).numpy()

    def q_values(self, X: Any) -> NDArray[np.floating]:
        """The follower's pessimistic Q-function, in units of discounted return.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions

        Returns
        -------
        ndarray of shape (n, n_actions)
            Columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        return self.anchor_ + self._project(X, "q_function_")

    def sample(self, X: Any, random_state: Any = None) -> NDArray[Any]:
        """Draw an action in each state, as the policy would.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        ndarray of shape (n,)
            Labels as in ``classes_``.
        """
        cumulative = self.predict_proba(X).astype(np.float64).cumsum(axis=1)
        drawn = check_random_state(random_state).uniform(size=(len(cumulative), 1))
        codes = (cumulative < drawn * cumulative[:, -1:]).sum(axis=1)
        return self.classes_[codes]

    def score(
        self, X: Any, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Value of the policy on a held-out log, for choosing among candidates.

        Doubly robust: Q and the density ratios of the policy as its training log has
        them, corrected by what ``X`` says against them. The evaluator's settings are
        its own, never those of this estimator, so that candidates of a search are
        judged alike; ``docs/choosing_lambda.md`` compares it with others. For a figure
        to report, with its standard error, see `metrics`.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, n_features)
            A log that the policy was not learned from.
        y : DataFrame, structured array or array-like of shape (n,), default=None
            As in `fit`.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows of X, >= 0.

        Returns
        -------
        float
            In units of discounted return, by the discount of `fit`; larger is better.

        Raises
        ------
        ValueError
            If the log holds actions that the policy does not know, or if the policy
            gives more than 5 % of its probability to actions that the log never holds.
        """
        check_is_fitted(self)
        return self.evaluation_.value(judge(self, X, y, sample_weight=sample_weight))

    def _solver(self, lam: float) -> ClosedFormSolver:
        return ClosedFormSolver(
            lam,
            self.beta,
            leader_gradient=self.leader_gradient,
            mirror_steps=self.mirror_steps,
            max_iter=self.max_iter,
            tol=self.tol,
        )

    def _project(self, X: Any, module: str) -> NDArray[np.floating]:
        """k(s, L) times a module's weights, folded onto the landmarks."""
        # Not through the door: a policy may be asked about a part of an episode.
        if isinstance(X, (Transitions, EpisodeView)):
            X = (X.transitions if isinstance(X, EpisodeView) else X).state
        states = validate_data(self, X, dtype=self.dtype, reset=False)
        weight = getattr(self, module).weight.numpy()
        return self.features_.project(states, self.features_.fold(weight))

    def _logged_states(self, log: Transitions) -> tuple[Any, Any]:
        """Checked states and next states, (n, d) each."""
        checked = []
        for name in ("state", "next_state"):
            values = getattr(log, name)
            checked.append(
                check_array(
                    values,
                    dtype=self.dtype,
                    ensure_all_finite=False,
                    ensure_min_samples=2,
                    estimator=self,
                    input_name=name,
                )
            )
        state, next_state = checked
        if next_state is not state:
            # What follows a terminated row is never used, and often not even recorded.
            next_state = np.where(log.terminated[:, None], state, next_state)
        _refuse_missing(state, "state")
        _refuse_missing(next_state, "next_state")
        return state, next_state

    def _rows(
        self,
        log: Transitions,
        state: Any,
        next_state: Any,
        features: LandmarkFeatures,
        codes: NDArray[np.intp],
        n_actions: int,
        reward_scale: float,
        anchor: float,
    ) -> Rows:
        states, state_index, next_index = index_states(
            state, next_state, shared_next_rows(log.with_states(state, next_state))
        )
        initial = state_index
        if self.initial_states == "first":
            initial = np.flatnonzero(log.is_initial)
            if not len(initial):
                initial = state_index
                warnings.warn(
                    "No logged row is the first of its episode, so all states serve as "
                    "initial. Give is_initial, or episode and step, to Transitions, or "
                    "set initial_states='all'.",
                    UserWarning,
                    stacklevel=3,
                )
        return Rows(
            feature_rows(features.transform, states, features.n_features_out_),
            state_index,
            next_index,
            codes,
            anchored_reward(log.reward, log.terminated, anchor, self.discount)
            / reward_scale,
            log.terminated.astype(float),
            initial,
            n_actions,
        )


def _encode_actions(action: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    classes, codes = np.unique(action, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"The log holds one class of action, {classes.tolist()[0]!r}, in all "
            f"of its {len(action)} rows; a policy needs at least two to choose from. "
            "Log another action too, or leave the decision as it is."
        )
    return classes, codes


def _root_mean_square(reward: NDArray[np.floating]) -> float:
    largest = float(np.abs(reward).max())
    if largest == 0.0:
        return 1.0
    # Divided first, so that squares of 1e200 or 1e-200 neither overflow nor vanish.
    return largest * float(np.sqrt(np.mean((reward / largest) ** 2)))


def _refuse_missing(states: NDArray[np.floating], name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(states).all(axis=1))
    if not len(bad):
        return
    kind = "NaN" if np.isnan(states[bad]).any() else "infinity"
    shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
    raise ValueError(
        f"{name} contains {kind} in {len(bad)} of {len(states)} rows (rows {shown}). "
        "Impute or drop them first; StackelbergPolicyEstimator does not accept missing "
        "values encoded as NaN natively, nor infinity. A pipeline with an imputer does."
    )
