"""The estimator: hyperparameters to a game, the game to a solver, and what it found."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from ._fitting.calibration import calibrate
from ._fitting.callbacks import CallbackSupportMixin, watch_fit, with_callbacks
from ._fitting.hyperparameters import check_parameters, may_be_stochastic
from ._fitting.result import FitResult
from ._fitting.select import Fit, make_fit
from ._problem.action_space import read_actions
from ._problem.dataset import OfflineProblem
from .equilibrium import Equilibrium
from .metrics._holdout import fit_holdout_evaluator
from .metrics._lower_bound import LowerBound
from .metrics._prepare import prepare_evaluation
from .transitions._as_transitions import as_transitions
from .transitions._episodes import EpisodeView
from .transitions._transitions import Transitions

# What a fit sets or leaves unset, as its players are.
_OF_PLAYERS = (
    "classes_",
    "candidates_",
    "action_bounds_",
    "features_",
    "bandwidth_",
    "policy_",
    "q_function_",
    "action_names_",
    "equilibrium_",
)


def _is_stochastic(estimator: Any) -> bool:
    return may_be_stochastic(estimator.get_params(deep=False))


def _has_amounts(estimator: Any) -> bool:
    return getattr(estimator, "action_type_", None) == "continuous"


class StackelbergPolicyEstimator(CallbackSupportMixin, BaseEstimator):
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
    ridge : float or None, default=None
        ρ >= 0: beside the n rows of the log, every direction of the features has ρ n
        rows after which the episode ends, worth `anchor_`. Larger draws the values
        there where the log is thin, step after step, as the ridge of fitted-Q
        evaluation does (which is the limit as λ grows). It can help where the log
        covers little (1e-4 is a good first try), but ``policy_value_`` is then no
        longer pessimistic. 0 is the game of [1]_. None is 0 for labels and for
        networks, 1e-4 for amounts, whose joint features are many for a log.
    kernel : str, callable or Kernel, default="rbf"
        Similarity of states: a name of `sklearn.metrics.pairwise.pairwise_kernels` with
        a positive semi-definite Gram matrix, ``"delta"`` for finite states (equal or
        not), a callable ``kernel(X, Y)`` that returns the Gram matrix, or a
        `sklearn.gaussian_process.kernels.Kernel`. Labels are told apart exactly; of
        amounts it is the similarity of state and amount, side by side.
    bandwidth : float, array-like of shape (n_features,) or "median", default="median"
        Length scale of ``"rbf"``, ``"laplacian"`` and ``"chi2"``, in the units of the
        states: one for all columns, or one for each. Larger makes Q and the policy
        smoother. ``"median"`` gives each column its standard deviation, times the
        median distance between states so scaled, so that columns in different units
        need no scaler. Amounts have the median, unless an array has their lengths
        behind those of the states.
    kernel_params : dict, default=None
        The kernel's other parameters, such as ``{"degree": 2}``.
    n_components : int or None, default=200
        Landmarks that the kernel is represented on. Larger is more exact and costs its
        square. None makes every distinct logged state a landmark; so does a number that
        is at least theirs.
    initial_states : {"first", "all"}, default="all"
        Where the value is counted from: the first state of each episode, as in [1]_, or
        every logged state, which steadies the learning where logs are short.
    q_function, policy : {"kernel", "linear", "mlp"}, MLP or callable, default="kernel"
        The functions that each player chooses from: linear in the kernel's features;
        linear in the standardised states; a perceptron of them (`networks.MLP` has its
        layers, for grids such as ``policy__hidden_layer_sizes``); or whatever
        ``f(n_inputs, n_outputs)`` returns, a `torch.nn.Module` on the states as they
        are. It maps (k, n_inputs) to (k, n_outputs): states to a value or a logit for
        each action; with continuous actions, states and action to one value, and states
        to a logit for each candidate, or to the means and log standard deviations of a
        Gaussian.
    action_type : {"auto", "discrete", "continuous"}, default="auto"
        Whether actions are labels, each told apart from the others, or amounts, of
        which close ones do nearly the same. ``"auto"`` takes names, truth values and
        whole numbers for labels, and so it takes up to 20 distinct fractional numbers
        that repeat; ``action_type_`` says which it was.
    action_distribution : {"candidates", "gaussian"}, default="candidates"
        The policy over continuous actions: a softmax over a few `candidates`, which
        stays with what was logged and can have several peaks; or a Gaussian squashed
        into the bounds, whose mean is a smooth function of the state.
    candidates : int or array-like of shape (n_candidates, n_action_columns), \
            default=None
        Amounts to choose among, or how many: all that were logged, if they are no more;
        else an even grid between the bounds where there is one column, k-means centres
        of the logged actions where there are more.
        More of them let the policy choose more finely, and cost as much more time.
        None is 5 or 16.
    action_bounds : (low, high) or None, default=None
        Numbers, or one for each column, that no action crosses. None takes them from
        the log.
    solver : {"auto", "closed_form", "stochastic"}, default="auto"
        How the game is solved. ``"closed_form"``, where Q is linear in its weights and
        the policy in the same features: the follower's exact answer, mirror steps and
        L-BFGS. ``"stochastic"``, for everything: both take turns on minibatches, as in
        [1]_; ``docs/networks.md`` says how.
    leader_gradient : {"total", "individual"}, default="total"
        The derivative the leader climbs after its mirror steps. ``"individual"`` holds
        w fixed while the leader steps: an ablation.
    mirror_steps : int, default=40
        At most so many mirror steps of the leader, with which every climb begins: they
        improve the policy in all logged states at once, visited or not.
    max_iter : int or None, default=None
        At most so many steps along the derivative after the mirror steps, in closed
        form (None is 50 for labels, 0 for amounts); or turns of the stochastic solver,
        those with mirror steps included (None is 20 more than `mirror_steps`).
    tol : float, default=1e-2
        Relative gain of the value under which the climb ends. Smaller climbs further,
        which raises ``policy_value_`` and, past what the log supports, not the policy's
        true value.
    batch_size : int or None, default=None
        Rows, and initial states, of a minibatch of the stochastic solver. Larger is
        steadier and slower. None is 5,000, or all rows where there are fewer.
    learning_rate : float, default=1e-3
        Step size of the follower in the stochastic solver. Larger is faster until it
        diverges. Gauss-Newton steps have none.
    leader_learning_rate : float or None, default=None
        Step size of the leader, with which mirror steps are fitted too. None is 3e-3
        for networks, 0.1 for others.
    follower_steps, leader_steps : int, default=1
        Steps of each player in a turn of the stochastic solver. More steps of the
        follower bring it nearer to its best response before the leader moves.
    optimizer : str or callable, default="gauss-newton"
        How the follower steps: ``"gauss-newton"``, damped and solved by conjugate
        gradient, beside which the leader takes Adam's steps; or, for both, a name of
        `torch.optim`, such as ``"adam"`` or ``"sgd"``, or a callable that takes
        parameters and a step size and returns an optimiser.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where the stochastic solver works; ``"auto"`` is a GPU if there is one. What is
        fitted on a GPU predicts and unpickles without one.
    dtype : {"float64", "float32"}, default="float64"
        Precision of the features. ``"float32"`` halves memory and time on large logs.
    random_state : int, RandomState instance or None, default=None
        Draws the landmarks, the networks' first weights and the minibatches. The same
        number gives bit-identical fits on one machine.
    warm_start : bool, default=False
        Whether `fit` goes on from where the last one ended: with the stochastic solver
        exactly as if it had not stopped, in closed form from its policy. What the first
        settled stays: the features, the units, the actions and the networks.
    verbose : int, default=0
        1 prints a line every tenth evaluation, 2 for each.
    callback : callable, default=None
        Called with each new entry of ``history_``, a dict; True stops the fit there.
        `set_callbacks` takes scikit-learn's own, from its version 1.9 on.

    Attributes
    ----------
    action_type_ : {"discrete", "continuous"}
        What the actions were taken for.
    classes_ : ndarray of shape (n_actions,)
        The labels, as given, sorted. With labels only.
    action_bounds_ : tuple of two ndarrays of shape (n_action_columns,)
        The smallest and the largest amounts. With amounts only.
    candidates_ : ndarray of shape (n_candidates, n_action_columns)
        The amounts to choose among. With a softmax over them only.
    action_names_ : tuple of str or None
        The amounts' columns, where the log names them. With amounts only.
    policy_, q_function_ : Module
        π_θ and q_w, on features or on columns of the states: torch modules. Kernel and
        linear ones hold q_w in units of discounted return, networks in those of the
        game (``reward_scale_``, ``anchor_``).
    features_ : LandmarkFeatures, StateActionFeatures or LinearColumns
        The map from states, or from states and amounts, to the features of Q, or of
        the kernel that the Bellman error of a network is measured by.
    policy_value_ : float
        The pessimistic value of the policy, in units of discounted return: the mean
        over initial states of what the follower grants it. With ``lam="calibrated"``
        the floor: fitted-Q value less quantile times standard error.
    pessimism_ : float
        How far ``policy_value_`` lies below the ridge estimate of the same value; with
        ``lam="calibrated"``, below its fitted-Q value.
    lam_ : float
        The weight that was played with.
    floor_ : LowerBound or None
        What ``lam="calibrated"`` found: ``value``, ``standard_error``, ``quantile`` and
        ``limit``, the floor itself, no lower than ``lowest``, the least that rewards
        add up to. ``docs/lower_bound.md`` says what it promises.
    bandwidth_ : ndarray of shape (n_features_in_,) or None
        The length scale of each column, those of amounts behind those of the states;
        None for kernels without one.
    evaluation_ : HoldoutEvaluator
        Q of the policy and its density ratios on the training log, without pessimism
        and by the evaluator's settings: what `score` starts from.
    equilibrium_ : Equilibrium
        First- and second-order conditions at the fitted point. In closed form only;
        `measure_equilibrium` has those of any fit.
    history_ : dict of str to list
        One entry per evaluation, which is every fifth turn of the stochastic solver:
        ``value`` and ``pessimism`` in units of discounted return,
        ``follower_objective``, ``bellman_error``, ``leader_gradient_norm`` and
        ``follower_gradient_norm`` in the units of the game, ``cg_residual`` of the
        total derivative's solution, relative, and ``seconds`` since the start. NaN
        where the solver does not compute one (in closed form the norms of mirror steps,
        and the last two but ``seconds``).
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
        ridge: float | None = None,
        kernel: Any = "rbf",
        bandwidth: float | ArrayLike = "median",
        kernel_params: dict[str, Any] | None = None,
        n_components: int | None = 200,
        initial_states: str = "all",
        q_function: Any = "kernel",
        policy: Any = "kernel",
        action_type: str = "auto",
        action_distribution: str = "candidates",
        candidates: int | ArrayLike | None = None,
        action_bounds: Any = None,
        solver: str = "auto",
        leader_gradient: str = "total",
        mirror_steps: int = 40,
        max_iter: int | None = None,
        tol: float = 1e-2,
        batch_size: int | None = None,
        learning_rate: float = 1e-3,
        leader_learning_rate: float | None = None,
        follower_steps: int = 1,
        leader_steps: int = 1,
        optimizer: Any = "gauss-newton",
        device: str = "auto",
        dtype: str = "float64",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        callback: Any = None,
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
        self.q_function = q_function
        self.policy = policy
        self.action_type = action_type
        self.action_distribution = action_distribution
        self.candidates = candidates
        self.action_bounds = action_bounds
        self.solver = solver
        self.leader_gradient = leader_gradient
        self.mirror_steps = mirror_steps
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.leader_learning_rate = leader_learning_rate
        self.follower_steps = follower_steps
        self.leader_steps = leader_steps
        self.optimizer = optimizer
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.callback = callback

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
        kept = getattr(self, "_kept", None) if self.warm_start else None
        return self._learn(X, y, as_transitions(X, y), kept)

    @available_if(_is_stochastic)
    def partial_fit(self, X: Any, y: Any = None) -> StackelbergPolicyEstimator:
        """Go on learning for one pass over a part of the log.

        The first part settles what the game is: the actions, the bounds, the scales of
        states and rewards, the kernel's landmarks. Each call takes the turns in which
        the follower's minibatches go once over the rows given; ``max_iter`` is not
        used. With the stochastic solver only.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, n_features)
        y : DataFrame, structured array or array-like of shape (n,), default=None
            As in `fit`.

        Returns
        -------
        StackelbergPolicyEstimator
            Itself, fitted.

        Raises
        ------
        ValueError
            If the rows hold actions that the first part did not have.
        """
        check_parameters(self)
        log = as_transitions(X, y)
        return self._learn(X, y, log, getattr(self, "_kept", None), one_pass=True)

    def _learn(
        self, X: Any, y: Any, log: Transitions, kept: Any, one_pass: bool = False
    ) -> StackelbergPolicyEstimator:
        """Set up the game, solve it, and set what was found."""
        params = self.get_params(deep=False)
        game = self._game(log, kept)
        actions, note = (kept.actions, "") if kept else read_actions(log, params)
        for text in filter(None, (*game.notes, note)):
            warnings.warn(text, UserWarning, stacklevel=3)
        fitting = make_fit(params, game, actions, kept)
        if one_pass:
            fitting.play_one_pass()
        lam, outcome, floor = self._solve(fitting, X, y)
        if outcome.equilibrium is not None:
            outcome.attributes["equilibrium_"] = outcome.equilibrium()
        evaluation = fit_holdout_evaluator(
            outcome.fitted_policy, game.log, game.discount
        )

        # Turns that were not to end have left nothing undone.
        unfinished = "" if one_pass else outcome.shortfall
        for text in filter(None, (outcome.diverged, unfinished)):
            warnings.warn(text, ConvergenceWarning, stacklevel=3)
        # Nothing after this line can fail, and only it and those after it set anything,
        # so that a fit that fails leaves nothing that looks fitted.
        validate_data(self, X=log.state, skip_check_array=True)
        for name in _OF_PLAYERS:
            self.__dict__.pop(name, None)
        vars(self).update(outcome.attributes)
        self._fitted_policy, self._kept = outcome.fitted_policy, outcome.kept
        self.action_type_ = actions.type
        self.reward_scale_ = game.scale
        self.anchor_ = game.anchor
        self.evaluation_ = evaluation
        self.lam_ = lam
        self.floor_ = floor
        self.policy_value_ = game.anchor + outcome.value * game.unit
        self.pessimism_ = outcome.pessimism * game.unit
        if floor is not None:
            self.policy_value_, self.pessimism_ = floor.value, floor.pessimism
        self.history_ = outcome.history.rescaled(game.anchor, game.unit)
        self.n_iter_ = outcome.n_iter
        return self

    def _game(self, log: Transitions, kept: Any) -> OfflineProblem:
        """The log in the units of the game, or of one that is gone on with."""
        if kept is not None:
            # The columns of the states must be those that the fit began with.
            validate_data(self, log.state, reset=False, skip_check_array=True)
        return OfflineProblem.from_log(
            log,
            discount=self.discount,
            initial_states=self.initial_states,
            dtype=self.dtype,
            estimator=self,
            units=kept.units if kept else None,
        )

    def measure_equilibrium(self, X: Any, y: Any = None) -> Equilibrium:
        """Conditions of a Stackelberg equilibrium where the fit ended, on a log.

        Fits in closed form have them as ``equilibrium_``. With networks they take
        longer than the fit: every product with a curvature goes through both of them.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, n_features)
            The log of `fit`.
        y : DataFrame, structured array or array-like of shape (n,), default=None
            As in `fit`.

        Returns
        -------
        Equilibrium
        """
        check_is_fitted(self)
        game = self._game(as_transitions(X, y), self._kept)
        params = self.get_params(deep=False)
        return make_fit(params, game, self._kept.actions, self._kept).equilibrium(
            self.lam_
        )

    @with_callbacks
    def _solve(
        self, fitting: Fit, X: Any, y: Any
    ) -> tuple[float, FitResult, LowerBound | None]:
        """Climb, watched; at several λ if one is to be found."""
        watch, finish = watch_fit(self, fitting, X, y)
        if not isinstance(self.lam, str):
            lam, outcome, floor = float(self.lam), fitting.solve(self.lam, watch), None
        else:
            lam, outcome, floor = calibrate(
                partial(fitting.solve, observe=watch),
                fitting.game.counted(),
                self.discount,
                self.confidence_level,
            )
        finish(outcome)
        return lam, outcome, floor

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable action in each state; a Gaussian's median.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions
            States, or a log whose states are taken.

        Returns
        -------
        ndarray of shape (n,) or (n, n_action_columns)
            Labels as in ``classes_``; or amounts, in the shape of the log's.
        """
        check_is_fitted(self)
        return self._fitted_policy.predict(self._states(X))

    def predict_proba(self, X: Any) -> NDArray[np.floating]:
        """Probability of every action in each state.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions

        Returns
        -------
        ndarray of shape (n, n_actions)
            Columns in the order of ``classes_``, or of ``candidates_``.

        Raises
        ------
        ValueError
            If the policy is a Gaussian over amounts.
        """
        check_is_fitted(self)
        return self._fitted_policy.predict_proba(self._states(X))

    @available_if(_has_amounts)
    def action_nodes(self, X: Any) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """The policy over amounts as a finite mixture: its candidates, or nodes.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions

        Returns
        -------
        actions : ndarray of shape (n, n_nodes, n_action_columns)
        weights : ndarray of shape (n, n_nodes)
            Their probabilities.
        """
        check_is_fitted(self)
        return self._fitted_policy.action_nodes(self._states(X))

    def q_values(self, X: Any, action: Any = None) -> NDArray[np.floating]:
        """The follower's pessimistic Q-function, in units of discounted return.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions
        action : array-like of shape (n,) or (n, n_action_columns), default=None
            One action for each state. None asks for all labels, or all candidates.

        Returns
        -------
        ndarray of shape (n, n_actions) or (n,)
            Columns in the order of ``classes_`` or ``candidates_``.
        """
        check_is_fitted(self)
        return self._fitted_policy.q_values(self._states(X), action)

    def sample(self, X: Any, random_state: Any = None) -> NDArray[Any]:
        """Draw an action in each state, as the policy would.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        ndarray of shape (n,) or (n, n_action_columns)
            As `predict` returns them.
        """
        check_is_fitted(self)
        return self._fitted_policy.sample(
            self._states(X), check_random_state(random_state)
        )

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
        if self.evaluation_ is None:
            raise ValueError(
                "The last part of the log that was learned from lacks labels that the "
                "policy takes, so nothing was learned of its value there. Learn from a "
                "part that has them all last, or judge the policy by "
                "metrics.fitted_q_value on a log that has them."
            )
        return self.evaluation_.value(
            prepare_evaluation(self, X, y, sample_weight=sample_weight)
        )

    def _states(self, X: Any) -> NDArray[np.floating]:
        """Checked states, (n, d)."""
        # Not through the door: a policy may be asked about a part of an episode.
        if isinstance(X, (Transitions, EpisodeView)):
            X = (X.transitions if isinstance(X, EpisodeView) else X).state
        return validate_data(self, X, dtype=self.dtype, reset=False)
