"""The estimator: hyperparameters to a game, the game to a solver, and what it found."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import Tags, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

# Names of `_fitting` bring torch with them, which a policy needs when it is fitted.
from . import _fitting
from ._fitting.callbacks import CallbackSupportMixin, make_observer, with_callbacks
from ._problem.action_space import read_actions
from ._typing import Flags, Floats
from ._validation import check_level
from .metrics._training_rows import TrainingRows, warn_of_training_rows
from .transitions._as_transitions import weighted_log_of
from .transitions._episodes import EpisodeView
from .transitions._parts import by_parts
from .transitions._tables import AvailableRule, collected, in_memory, named
from .transitions._transitions import Transitions
from .transitions._usage import say_what_is_used
from .transitions._words import refuse_words

if TYPE_CHECKING:
    from ._fitting.fit import Fit, FitResult, FitState
    from ._fitting.hyperparameters import FunctionClass, Hyperparameters
    from ._problem.dataset import OfflineProblem
    from .equilibrium import Equilibrium
    from .metrics._holdout import HoldoutEvaluator
    from .metrics._lower_bound import LowerBound
    from .solvers._base import Solver

# What `fit` takes: a log, or states; DataFrames are array-like.
Log = Transitions | EpisodeView | ArrayLike

# Which actions can be taken.
Available = ArrayLike | AvailableRule | None

# What a fit sets or leaves unset, depending on actions, solver and policy.
_NOT_ALWAYS_SET = (
    *("classes_", "candidates_", "action_bounds_", "action_names_", "features_"),
    *("bandwidth_", "policy_", "q_function_", "equilibrium_"),
)


def _goes_on(fitted: StackelbergPolicyEstimator) -> bool:
    return _fitting.has_one_pass(fitted.solver, fitted.q_function, fitted.policy)


def _is_discrete(estimator: StackelbergPolicyEstimator) -> bool:
    return getattr(estimator, "action_type_", None) == "discrete"


def _is_continuous(estimator: StackelbergPolicyEstimator) -> bool:
    return getattr(estimator, "action_type_", None) == "continuous"


class StackelbergPolicyEstimator(CallbackSupportMixin, BaseEstimator):
    """A policy learned from logged transitions, against a pessimistic Q-function.

    The policy π_θ maximises v(w*(θ), θ), its value by the Q-function that is the best
    response to it,

        w*(θ) = argmin_w v(w, θ) + λ n E_K(w, θ) + (β/2) |w|²,

    the one that makes the policy look worst among those that agree with the log, E_K
    being the kernel-embedded weighted average Bellman error [1]_. The policy follows
    the total derivative of v, which foresees how the Q-function will respond.

    Parameters
    ----------
    discount : float, default=0.99
        Weight of a reward one step later, or one unit of time where the log has
        durations, in [0, 1]. Larger looks further ahead; 1 counts all that comes until
        an episode ends, and needs a log in which every episode does.
    lam : float or "calibrated", default=10.0
        λ > 0, weight of the Bellman error. Larger makes the Q-function agree more with
        the log and be less pessimistic. The unit is the same for every log: rewards are
        measured from their average and divided by their spread, and rows count for what
        the kernel keeps apart and for how independent they are. ``"calibrated"`` tries
        six on five folds of episodes, takes the one whose policies have the highest
        lower bound of their value, at `confidence_level`, on the episodes that they
        were not learned from, and reports that bound as ``policy_value_``: about thirty
        fits and as many evaluations.
    confidence_level : float, default=0.95
        In (0, 1), of the lower bound of ``lam="calibrated"`` alone. Larger puts it
        lower.
    beta : float or None, default=None
        β > 0, curvature of the Q-function's objective, in units of (1 − discount)².
        Larger draws Q to `anchor_` where the log is thin, as beta / (2 lam) rows more
        of each pair of state and action would, and makes it respond more smoothly to
        the policy. None is 0.1, but for continuous actions, whose best amount is where
        Q bends: 1e-4 / (1 − discount)², where that is less.
    ridge : float or None, default=None
        ρ >= 0: beside the n rows of the log, every direction of the features has ρ n
        rows after which the episode ends, worth `anchor_`. Larger draws the values
        there where the log is thin, as the ridge of fitted-Q evaluation does (the limit
        as λ grows). It can help where the log covers little (1e-4 is a good first try),
        but ``policy_value_`` is then no longer pessimistic. 0 is the game of [1]_. None
        is 1e-4 for continuous actions, whose features are many for a log, and 0 where
        nothing follows any row, for discrete actions and for networks.
    kernel : str, callable or Kernel, default="auto"
        Similarity of states: a name of `sklearn.metrics.pairwise.pairwise_kernels` with
        a positive semi-definite Gram matrix, ``"delta"`` for finite states (equal or
        not), a callable ``kernel(X, Y)`` that returns the Gram matrix, or a
        `sklearn.gaussian_process.kernels.Kernel`. ``"auto"`` is chosen by held-out
        episodes where actions are discrete and neither lengths nor parameters are
        given: among ``"delta"``, ``"laplacian"`` and ``"rbf"`` if there are at most
        ``n_components`` states and ten rows for each on average, else between the last
        two, of which ``"laplacian"`` is for values that break off: with four median
        lengths of few states, and twice the lengths by relevance of many. Otherwise,
        and for networks, it is ``"rbf"``.
        ``"delta"`` knows nothing of a state that was not logged: there all actions are
        as probable, and Q is `anchor_`. ``"linear"`` is x'y, exact for one-hot states,
        and has no intercept: ``q_function="linear"`` has. Kernels are divided by the
        mean k(s, s), so that λ and β mean the same for each. Discrete actions are equal
        or not; with continuous ones it is the similarity of state and action, side by
        side.
    bandwidth : float, array-like of shape (n_features,), "relevance" or "median", \
            default="relevance"
        Length scale of ``"rbf"``, ``"laplacian"`` and ``"chi2"``. Larger makes Q and
        the policy smoother. ``"median"`` gives each column its standard deviation,
        times the median distance between states so scaled, so that no scaler is needed.
        ``"relevance"`` makes columns longer along which a Q-function of 5,000 rows is
        linear or constant, and is the median but for ``"rbf"`` with discrete actions. A
        number is a multiple of the median, so that a search may try [0.5, 1.0, 2.0] on
        any log, and is ignored by other named kernels, so that it may try these too; an
        array has a length for each column, in its unit. Continuous actions have the
        median, unless an array has their lengths behind those of the states. Without
        lengths of their own ``"rbf"`` and ``"laplacian"`` compare doses that span
        decades by their logarithm.
    kernel_params : dict, default=None
        The kernel's other parameters, such as ``{"degree": 2}``.
    n_components : int or None, default=200
        Landmarks that the kernel is represented on, at most the distinct logged states,
        which None takes. Larger is more exact and costs its square.
    linear_terms : bool, default=True
        Whether functions in ``"rbf"``, ``"laplacian"`` or ``"chi2"`` features also have
        an intercept and terms linear in the standardised states, so that many columns
        do not bury a linear effect. Of discrete actions alone.
    initial_states : {"first", "all"}, default="all"
        Where the value is counted from: the first state of each episode, as in [1]_, or
        every logged state, which steadies the learning where logs are short.
    support : float or "auto", default="auto"
        In [0, 1). An action is taken only where the policy that logged, as estimated
        from the log, takes it at least so many times as often as its likeliest action;
        where states are few, five rows of the state are enough, and where they are many
        it is not taken in boxes of states in which it never was. An action that is
        known to be barred is better said to be, by ``available`` of the log. The policy
        starts at that estimate. Larger stays nearer to the log; 0 allows every action
        everywhere, which can be better where a log covers all of them. ``"auto"`` is
        0.2, or 0.01 where that is worth 0.3 more even at 0.3 of λ, as of a bad logger
        who tries other actions now and then; of networks 0.2. Of continuous actions a
        candidate between others that are taken near the state needs to be taken at all,
        and a Gaussian policy is held to the range of what was logged there.
    deterministic : bool, default=True
        Whether the fitted policy always takes the action that `predict` returns, so
        that `predict_proba`, `sample`, `score` and every estimate of `metrics` are of
        that policy. False keeps the probabilities that the game was solved for: for
        trials that randomise, for logs to be learned from again, and where several
        actions are equally good.
    q_function, policy : {"kernel", "linear", "mlp"}, MLP or callable, default="kernel"
        The functions that each is chosen from: linear in the kernel's features; linear
        in the standardised states; a perceptron of them (`networks.MLP` has its layers,
        for grids such as ``policy__hidden_layer_sizes``); or the `torch.nn.Module` that
        ``f(n_inputs, n_outputs)`` returns, on the states as they are. It maps
        (k, n_inputs) to (k, n_outputs): states to a value or a logit for each action;
        with continuous actions, states and action to one value, and states to a logit
        for each candidate, or to the means and log standard deviations of a Gaussian.
    action_type : {"auto", "discrete", "continuous"}, default="auto"
        Whether actions are labels, equal or not, or measurements, of which close ones
        do nearly the same. ``"auto"`` takes for discrete: names, truth values, whole
        numbers, and up to 20 distinct fractional numbers that repeat.
    action_distribution : {"candidates", "gaussian"}, default="candidates"
        The policy over continuous actions: a softmax over a few `candidates`, which
        stays with what was logged and can have several peaks; or a Gaussian squashed
        into the bounds, whose mean is a smooth function of the state.
    candidates : int or array-like of shape (n_candidates, n_action_columns), \
            default=None
        Actions to choose among, or how many: all that were logged, if they are no more;
        else quantiles of the logged actions where there is one column, k-means centres
        where there are more. More are finer and cost as much more time. None is 17 or
        16. An array may hold any action in the bounds, as the extremes, which quantiles
        leave out.
    action_bounds : (low, high) or None, default=None
        Numbers, or one for each column, that no action crosses. None takes the log's.
    solver : {"auto", "closed_form", "stochastic"} or a solver, default="auto"
        How the policy is found. ``"closed_form"`` is `solvers.ClosedForm` with its
        defaults, where Q is linear in its weights and the policy in the same features:
        mirror steps and L-BFGS along the exact best response. ``"stochastic"`` is
        `solvers.Stochastic`, for everything: steps of both on minibatches, as in [1]_.
        An object has settings of its own, such as ``ClosedForm(tol=1e-3)``, which a
        search reaches as ``solver__tol``; `solvers.Solver` says how to write another.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where the sums over the rows are formed. ``"auto"`` is a GPU if there is one, in
        closed form if the log is so large that it gains, and for discrete actions
        alone. What is fitted on a GPU predicts and unpickles without one.
    dtype : {"float64", "float32"}, default="float64"
        Precision of the features. ``"float32"`` halves memory and time on large logs.
    random_state : int, RandomState instance or None, default=None
        Draws the landmarks, the networks' first weights and the minibatches. The same
        number gives bit-identical fits on one machine.
    warm_start : bool, default=False
        Whether `fit` goes on from where the last one ended: with the stochastic solver
        exactly as if it had not stopped, in closed form from its policy. The features,
        units, actions and networks of the first fit stay: parameters that they were
        made by, such as `kernel`, `bandwidth` and `dtype`, are refused if they changed.
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
        Discrete actions, as given, sorted.
    action_bounds_ : tuple of two ndarrays of shape (n_action_columns,)
        The smallest and the largest continuous actions.
    candidates_ : ndarray of shape (n_candidates, n_action_columns)
        The continuous actions that a softmax chooses among.
    action_names_ : tuple of str or None
        Columns of continuous actions, where the log names them.
    policy_, q_function_ : Module
        π_θ and q_w, on features or on columns of the states. Kernel and linear ones
        hold q_w in units of discounted return, networks in those of the game
        (``reward_scale_``, ``anchor_``).
    features_ : LandmarkFeatures, StateActionFeatures or LinearColumns
        The map from states, or states and continuous actions, to the features of Q, or
        of the kernel that the Bellman error of a network is measured by.
    policy_value_ : float
        The pessimistic value that the game ended at, in units of discounted return: the
        mean over initial states of the Q-function, of the policy with its
        probabilities; no more and no less than the logged rewards can add up to. With
        ``lam="calibrated"`` the lower bound.
    pessimism_ : float
        How far ``policy_value_`` lies below the value of the same policy by a
        Q-function that only fits the log; with ``lam="calibrated"``, below
        ``lower_bound_.estimate``.
    shrinkage_ : float
        β's part of it: what drawing Q to `anchor_` takes off the value; negative where
        it adds to it.
    lam_ : float
        The weight λ of the fit.
    lower_bound_ : LowerBound or None
        What ``lam="calibrated"`` found: ``value`` is ``estimate``, the mean value of
        policies on episodes that they were not learned from, less ``quantile`` times
        its errors, and no lower than the least that rewards add up to. Counted from
        the log's first states, as `metrics` do, whatever `initial_states` is.
        ``docs/lower_bound.md`` says what it promises.
    support_ : float
        What `support` came to.
    bandwidth_ : ndarray of shape (n_features_in_,) or None
        The length scale of each column, those of continuous actions behind those of the
        states; None for kernels without one.
    evaluation_ : HoldoutEvaluator
        What `score` starts from: Q of the policy and its density ratios on the training
        log, without pessimism and by the evaluator's settings.
    equilibrium_ : Equilibrium
        First- and second-order conditions at the fitted point, in closed form only.
    history_ : dict of str to list
        One entry per evaluation, every fifth iteration of the stochastic solver:
        ``value`` and ``pessimism`` in units of discounted return,
        ``follower_objective``, ``bellman_error``, ``leader_gradient_norm`` and
        ``follower_gradient_norm`` in the units of the game, ``cg_residual`` of the
        total derivative's solution, relative, and ``seconds`` since the start. NaN is
        what the solver does not compute.
    reward_scale_ : float
        What rewards were divided by: their spread about the average.
    anchor_ : float
        What rewards are measured from, and Q is drawn to: the discounted return of
        an average row that terminates as often as the log's do. Where steps say when
        episodes end, it is what the log returns from the row's step on, and this is its
        mean over the rows.
    design_effect_ : float
        How many rows are worth an independent one: 1, or more where episodes have
        a noise of their own. ``lam`` is divided by it.
    n_iter_ : int
        Steps of the policy, or iterations of the stochastic solver.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        By `fit`, in a sentence, if a parameter or the log cannot be used: missing or
        infinite values, fewer than two actions, a kernel that is not positive
        semi-definite, matrices that would not fit in memory.

    Warns
    -----
    TrainingRowsWarning
        By `score` and `metrics`, if the policy was learned from rows of their log.
    HiddenStateWarning
        With ``lam="calibrated"``, if the states do not hold all that matters, by
        `metrics`, too.
    ConvergenceWarning
        If the value was still rising when the iterations ran out.
    UserWarning
        If ``initial_states="first"`` and no logged row is the first of its episode. If
        over 5 % of a table's rows, or 10 % of their rewards, are not used, once for
        each log. If a table has no column ``episode`` and the discount is not 0.

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

    _training_rows: TrainingRows

    def __init__(
        self,
        *,
        discount: float = 0.99,
        lam: float | str = 10.0,
        confidence_level: float = 0.95,
        beta: float | None = None,
        ridge: float | None = None,
        kernel: str | Callable[..., ArrayLike] | Kernel = "auto",
        bandwidth: float | ArrayLike = "relevance",
        kernel_params: dict[str, Any] | None = None,
        n_components: int | None = 200,
        linear_terms: bool = True,
        initial_states: str = "all",
        support: float | str = "auto",
        deterministic: bool = True,
        q_function: FunctionClass = "kernel",
        policy: FunctionClass = "kernel",
        action_type: str = "auto",
        action_distribution: str = "candidates",
        candidates: int | ArrayLike | None = None,
        action_bounds: tuple[ArrayLike, ArrayLike] | None = None,
        solver: str | Solver = "auto",
        device: str = "auto",
        dtype: str = "float64",
        random_state: int | RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 0,
        callback: Callable[[dict[str, float]], object] | None = None,
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
        self.linear_terms = linear_terms
        self.initial_states = initial_states
        self.support = support
        self.deterministic = deterministic
        self.q_function = q_function
        self.policy = policy
        self.action_type = action_type
        self.action_distribution = action_distribution
        self.candidates = candidates
        self.action_bounds = action_bounds
        self.solver = solver
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.callback = callback

    def set_params(self, **params: Any) -> StackelbergPolicyEstimator:
        """Set parameters, those of a solver or a network as ``solver__tol``.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        StackelbergPolicyEstimator
            Itself.

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        inner = [name for name in params if name.startswith("solver__")]
        solver = params.get("solver", self.solver)
        if inner and isinstance(solver, str):
            raise ValueError(
                f"{inner[0]} cannot be set, because solver={solver!r} is a name. Pass "
                "solver=ClosedForm() or Stochastic(), of sklearn_stackelberg.solvers."
            )
        return super().set_params(**params)

    def __sklearn_tags__(self) -> Tags:
        """An estimator of its own kind: y may be given, and holds the decisions."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def fit(
        self, X: Log, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> StackelbergPolicyEstimator:
        """Learn a policy.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, n_features)
            A log, or states.
        y : DataFrame or structured array of shape (n,), or 1-D array-like, default=None
            With states: a table of what was done in them, with the columns ``action``
            and ``reward`` and, where there are any, ``episode``, ``step``,
            ``terminated``, ``truncated``, ``propensity``, ``is_initial``, ``duration``,
            ``sample_weight``, ``censored`` and, of masks, ``available_``
            with each action behind it (see `as_transitions`); or the actions alone,
            each of which then counts as a success.
        sample_weight : array-like of shape (n,), default=None
            How often each row of X counts, >= 0, besides the log's own weights: a log
            with whole episodes of weight k is the log in which they stand k times, and
            rows of weight 0 are left out. Larger weights are more rows, and make the
            policy less pessimistic: divide those of another unit by their mean.

        Returns
        -------
        StackelbergPolicyEstimator
            Itself, fitted.
        """
        hp = _fitting.Hyperparameters.from_estimator(self)
        state = getattr(self, "_state", None) if hp.warm_start else None
        with _fitting.executor_of_joblib():
            return self._learn(hp, X, y, weighted_log_of(X, y, sample_weight), state)

    @available_if(_goes_on)
    def partial_fit(
        self, X: Log, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> StackelbergPolicyEstimator:
        """Go on learning for one pass over a part of the log.

        The first part says what the problem is: the actions, the bounds, the scales of
        states and rewards, the kernel's landmarks. Each call takes the iterations in
        which the Q-function's minibatches go once over the rows given; ``max_iter`` of
        the solver is not used. With the stochastic solver only.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, n_features)
        y : DataFrame, structured array or array-like of shape (n,), default=None
        sample_weight : array-like of shape (n,), default=None
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
        hp = _fitting.Hyperparameters.from_estimator(self)
        state = getattr(self, "_state", None)
        log = weighted_log_of(X, y, sample_weight)
        with _fitting.executor_of_joblib():
            return self._learn(hp, X, y, log, state, one_pass=True)

    def _learn(
        self,
        hp: Hyperparameters,
        X: Log,
        y: ArrayLike | None,
        log: Transitions,
        state: FitState | None,
        one_pass: bool = False,
    ) -> StackelbergPolicyEstimator:
        """Set up the problem, solve it, and set what was found."""
        if not (one_pass and state is not None):
            say_what_is_used(log, hp.discount, stacklevel=3)
        problem = self._problem(hp, log, state)
        actions, note = state.actions if state else None, ""
        if actions is None:
            actions, note = read_actions(log, hp.action_type, hp.action_bounds)
        # stacklevel=3: the line that called fit or partial_fit is named.
        for text in filter(None, (*problem.notes, note)):
            warnings.warn(text, UserWarning, stacklevel=3)
        before = self._training_rows if one_pass and state is not None else None
        training_rows = TrainingRows.of(log, before)
        fit = _fitting.make_fit(hp, problem, actions, state)
        if one_pass and isinstance(fit, _fitting.StochasticFit):
            fit.one_pass()
        lam, result, bound = self._solve(fit, X, y)
        fit, fitted, found = result.fit, result.fitted, result.found
        if isinstance(fit, _fitting.ClosedFormFit):
            # Its conditions cost a few evaluations more; on samples more than the fit.
            fitted.attributes["equilibrium_"] = fit.equilibrium(result.state, lam)
        fit.release()
        evaluation = fit.evaluator(fitted.policy)
        # One pass was not meant to get there, so that it has left nothing undone.
        for text in filter(None, (found.diverged, "" if one_pass else found.shortfall)):
            warnings.warn(text, ConvergenceWarning, stacklevel=3)
        # Only this line and those after it set anything, and they cannot fail, so that
        # a fit that fails leaves nothing that looks fitted.
        validate_data(self, X=named(log.state), skip_check_array=True)
        # Candidates of an earlier fit would outlive a fit without any.
        for name in _NOT_ALWAYS_SET:
            self.__dict__.pop(name, None)
        self.__dict__.update(fitted.attributes)
        self._fitted_policy, self._state = fitted.policy, result.state
        self._training_rows, self.action_type_ = training_rows, actions.type
        self.reward_scale_, self.anchor_ = problem.scale, problem.anchor
        self.design_effect_, self.evaluation_ = fit.players.design_effect, evaluation
        self.lam_, self.lower_bound_ = lam, bound
        self.policy_value_, excess = problem.return_of(float(found.value))
        self.shrinkage_ = found.shrinkage * problem.unit
        self.pessimism_ = found.pessimism * problem.unit + self.shrinkage_ + excess
        if bound is not None:
            self.policy_value_, self.pessimism_ = bound.value, bound.pessimism
        self.history_ = found.history.rescaled(problem.initial_anchor, problem.unit)
        self.n_iter_ = found.n_iter
        if found.interrupted:
            raise KeyboardInterrupt(found.interrupted)
        return self

    def _problem(
        self, hp: Hyperparameters, log: Transitions, state: FitState | None
    ) -> OfflineProblem:
        """The log in its own units, or in those of a fit that is gone on with."""
        from ._problem.dataset import OfflineProblem

        if state is not None:
            # The columns of the states must be those that the fit began with.
            validate_data(self, named(log.state), reset=False, skip_check_array=True)
        return OfflineProblem.from_log(
            log,
            discount=hp.discount,
            initial_states=hp.initial_states,
            estimator=self,
            units=state.units if state else None,
        )

    def measure_equilibrium(
        self, X: Log, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Equilibrium:
        """Conditions of a Stackelberg equilibrium where the fit ended, on a log.

        Fits in closed form have them as ``equilibrium_``. With networks they take
        longer than the fit.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, n_features)
            The log of `fit`.
        y : DataFrame, structured array or array-like of shape (n,), default=None
        sample_weight : array-like of shape (n,), default=None
            As in `fit`.

        Returns
        -------
        Equilibrium
        """
        check_is_fitted(self)
        hp, state = _fitting.Hyperparameters.from_estimator(self), self._state
        with _fitting.executor_of_joblib():
            problem = self._problem(hp, weighted_log_of(X, y, sample_weight), state)
            fit = _fitting.make_fit(hp, problem, state.actions, state)
            return fit.equilibrium(state, self.lam_)

    @with_callbacks
    def _solve(
        self, fit: Fit, X: Log, y: ArrayLike | None
    ) -> tuple[float, FitResult, LowerBound | None]:
        """Solve, observed; at several λ if one is to be found."""
        observe, finish = make_observer(self, fit, X, y)
        hp, bound = fit.hp, None
        if isinstance(hp.lam, str):
            lam, result, bound = _fitting.calibrate(fit, hp.confidence_level, observe)
        else:
            lam, result = float(hp.lam), fit.solve(hp.lam, observe, True)
        finish(result.fitted)
        return lam, result, bound

    @by_parts
    def predict(self, X: Log, available: Available = None) -> NDArray[Any]:
        """The most probable action in each state; a Gaussian's median.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions
            States, or a log whose states are taken. Also a dataset or a stream of Arrow
            or the path of Parquet files, read part by part, or a Dask DataFrame, of
            which the result is a Dask array, not computed yet; of these, the columns
            that the policy was fitted with.
        available : array-like or DataFrame of bool of shape (n, n_actions), or \
                callable, default=None
            Which actions can be taken, the others having probability 0: columns in the
            order of ``classes_``, or named by them; or a callable that returns either
            for states. None takes the masks of a log, or asks the callable of the log
            of `fit` again.

        Returns
        -------
        ndarray of shape (n,) or (n, n_action_columns)
            Of ``classes_``; or continuous actions, in the shape of the log's.

        Raises
        ------
        ValueError
            If the log of `fit` had masks, and nothing says what is available here.
        """
        states, masks = self._inputs(X, available)
        return self._fitted_policy.predict(states, **masks)

    @by_parts
    def predict_proba(self, X: Log, available: Available = None) -> Floats:
        """Probability of every action in each state.

        1 for what `predict` returns, unless ``deterministic=False``.

        Parameters
        ----------
        X, available
            As in `predict`.

        Returns
        -------
        ndarray of shape (n, n_actions)
            Columns in the order of ``classes_``, or of ``candidates_``.

        Raises
        ------
        ValueError
            As in `predict`, and if the policy is a Gaussian.
        """
        states, masks = self._inputs(X, available)
        return self._fitted_policy.predict_proba(states, **masks)

    @available_if(_is_continuous)
    def action_nodes(self, X: Log) -> tuple[Floats, Floats]:
        """A policy over continuous actions as a finite mixture.

        What `predict` returns is the only node, unless ``deterministic=False``: then
        the candidates, or nodes of a Gaussian.

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

    @by_parts
    def q_values(
        self, X: Log, action: ArrayLike | None = None, return_std: bool = False
    ) -> Floats | tuple[Floats, Floats]:
        """The pessimistic Q-function, in units of discounted return.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions
        action : array-like of shape (n,) or (n, n_action_columns), default=None
            One action for each state. None is all of ``classes_`` or ``candidates_``.
        return_std : bool, default=False
            Whether to return Q of ``evaluation_`` instead, without pessimism and most
            of what its ridge takes off, and how far it may be off: the standard
            deviation over logs with as many episodes, and what is not known where the
            log is silent (there, the spread of Q in the log). Whether its features can
            follow Q is not in it.

        Returns
        -------
        q : ndarray of shape (n, n_actions) or (n,)
            Columns in the order of ``classes_`` or ``candidates_``.
        std : ndarray of the same shape
            Only if `return_std`.
        """
        check_is_fitted(self)
        states = self._states(X)
        if not return_std:
            return self._fitted_policy.q_values(states, action)
        uncertainty = self._known_evaluation().uncertainty
        return _fitting.q_with_std(self._fitted_policy, uncertainty, states, action)

    @available_if(_is_discrete)
    @by_parts
    def predict_set(
        self, X: Log, confidence_level: float = 0.95, available: Available = None
    ) -> Flags:
        """All actions that are not significantly worse than the best, in each state.

        Worse by the Q-function of ``evaluation_`` and the standard error of the
        difference of two actions. Where the log decides nothing, all actions that it
        supports are in the set; with one action in it, the log is sure. The set holds
        the best supported action at the confidence level, in each state for itself, if
        it is taken once and the policy followed from then on.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions
        confidence_level : float, default=0.95
            In (0, 1). Larger gives larger sets.
        available
            As in `predict`.

        Returns
        -------
        ndarray of bool of shape (n, n_actions)
            Columns in the order of ``classes_``; at least one in each row is True.

        Examples
        --------
        The two drugs are alike where x is 0, and are not where it is 1.

        >>> import numpy as np
        >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
        >>> rng = np.random.default_rng(1)
        >>> x, drug = rng.integers(2, size=(200, 1)), rng.choice(["A", "B"], size=200)
        >>> reward = x[:, 0] * (drug == "B") + rng.normal(size=200)
        >>> log = Transitions(x, drug, reward, x, np.ones(200))
        >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
        >>> policy.predict_set([[0], [1]])
        array([[ True,  True],
               [False,  True]])
        """
        check_level(confidence_level)
        states, masks = self._inputs(X, available)
        known = self._fitted_policy, self._known_evaluation().uncertainty
        return _fitting.labels_not_worse(*known, states, confidence_level, **masks)

    @available_if(_is_continuous)
    def predict_interval(
        self, X: Log, confidence_level: float = 0.95
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """The range of candidates that are not significantly worse than the best.

        As `predict_set`, of continuous actions.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features), or Transitions
        confidence_level : float, default=0.95
            In (0, 1). Larger gives wider ranges.

        Returns
        -------
        low, high : ndarrays of shape (n,) or (n, n_action_columns)
            The smallest and the largest of ``candidates_``, each column for itself, in
            the shape of the log's actions. Candidates in between need not all be in.
        """
        check_level(confidence_level)
        states, _ = self._inputs(X, None)
        policy, known = self._fitted_policy, self._known_evaluation().uncertainty
        ends = _fitting.range_not_worse(policy, known, states, confidence_level)
        return policy.actions.as_logged(ends[0]), policy.actions.as_logged(ends[1])

    def sample(
        self,
        X: Log,
        random_state: int | RandomState | None = None,
        available: Available = None,
    ) -> NDArray[Any]:
        """Draw an action in each state, as the policy would.

        Parameters
        ----------
        X
            As in `predict`; a Dask DataFrame is read into memory.
        random_state : int, RandomState instance or None, default=None
        available
            As in `predict`.

        Returns
        -------
        ndarray of shape (n,) or (n, n_action_columns)
            As `predict` returns them.
        """
        rng = check_random_state(random_state)
        # A Dask DataFrame is gathered: its partitions would draw alike.
        X = getattr(X, "compute", lambda: X)()
        return self._sample(X, rng, available)

    @by_parts
    def _sample(self, X: Log, rng: RandomState, available: Available) -> NDArray[Any]:
        states, masks = self._inputs(X, available)
        return self._fitted_policy.sample(states, rng, **masks)

    def score(
        self, X: Log, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Value of the policy on a held-out log, for choosing among candidates.

        Doubly robust: ``evaluation_``, corrected by what ``X`` says against it. The
        evaluator's settings are its own, so that candidates of a search are compared
        alike; ``docs/choosing_lambda.md`` compares it with others. For a figure to
        report, with its standard error, see `metrics`.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, n_features)
            A log that the policy was not learned from.
        y : DataFrame, structured array or array-like of shape (n,), default=None
            As in `fit`.
        sample_weight : array-like of shape (n,), default=None
            How often each row of X counts, as in `fit`.

        Returns
        -------
        float
            In units of discounted return, by the discount of `fit`; larger is better.

        Raises
        ------
        ValueError
            If the policy does not know an action of the log, or gives more than 5 % of
            its probability to actions that the log never holds.
        """
        from .metrics._prepare import prepare_evaluation

        check_is_fitted(self)
        evaluation = self._known_evaluation()
        data = prepare_evaluation(self, X, y, sample_weight=sample_weight)
        warn_of_training_rows(self, data.log)
        return evaluation.value(data)

    def _known_evaluation(self) -> HoldoutEvaluator:
        # Only a part of a log, by partial_fit, can lack an action of the policy.
        if self.evaluation_ is None:
            raise ValueError(
                "The last part of the log lacks labels that the policy takes. Learn "
                "last from a part that has them all, or evaluate the policy by "
                "metrics.fitted_q_value on a log that has them."
            )
        return self.evaluation_

    def _inputs(self, X: Log, available: Available) -> tuple[Floats, dict[str, Any]]:
        """Checked states, (n, d), and the mask of actions, if there is any."""
        check_is_fitted(self)
        X = collected(X)
        states = self._states(X)
        # Not by way of `as_transitions`, which refuses a part of an episode.
        X = X.transitions if isinstance(X, EpisodeView) else X
        log = X if isinstance(X, Transitions) else None
        mask = self._fitted_policy.available(log.state if log else X, log, available)
        return states, {} if mask is None else {"available": mask}

    def _states(self, X: Log) -> Floats:
        """Checked states, (n, d)."""
        if isinstance(X, (Transitions, EpisodeView)):
            X = (X.transitions if isinstance(X, EpisodeView) else X).state
        X = in_memory(collected(X))
        refuse_words(X, "X")
        return validate_data(self, X, dtype=np.float64, reset=False)
