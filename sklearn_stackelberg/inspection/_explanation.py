"""`explain_policy`: a short tree that decides nearly as a policy, and what it loses."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from .._html import html_table
from .._typing import AnyArray, Flags, Floats, RandomStateLike
from .._validation import check_level, check_rules, flag, integer
from ..metrics._cross_fitted import SharedEvaluation, Splitter
from ..metrics._data import as_numbers
from ..metrics._differences import ValueDifference, difference
from ..metrics._estimate import OffPolicyEstimate, with_error
from ..metrics._tabulate import action_nodes, like, probabilities_of
from ..metrics._training_rows import warn_of_training_rows
from ..preprocessing._on_states import OnStates
from ..transitions._actions import masks_of
from ..transitions._time import refuse_endless
from ._coverage import percent
from ._imitation import Imitation, seen_by_rows
from ._rule_columns import ExplainedLog, discount_of
from ._rule_tree import TIME_LIMIT, DiscreteTreePolicy, TreePolicy

# Sixteen rules are as many as anyone reads.
_DEPTH = 4

# In how many states fewer than the tree that is nearest to the policy a shorter one may
# decide alike, as a share of all; and of what lies between the values of the worst and
# of the best, how much less it may be worth. Chosen on 35 logs, see docs/explain.md.
_FEWER, _LESS = 0.1, 0.1

# Continuous actions agree that differ by no more than this share of the logged range.
_NEAR = 0.1

# Actions that a rule names for rows where its own is not available.
_OTHERS = 3


@dataclass(frozen=True)
class Rule:
    """One leaf of a tree: what holds there, and what is done.

    Parameters
    ----------
    conditions : tuple of str
        What holds, in the columns of X; none of the only rule.
    action : object
        What is done: one of the policy's actions, an amount, or a tuple of several.
    n_rows : int
        The logged rows to which the rule applies.
    share : float
        Their share of all, by weight.
    share_logged : float
        Of these, the share in which the logger did the same; of continuous actions
        nearly the same.
    share_agreeing : float
        The same of the policy.
    advantage : float
        How much more the action is worth there than what was logged, in units of
        discounted return, if the policy is followed from then on.
    otherwise : tuple
        What is done in the rows where masks do not let the action be taken, the first
        that can be.
    """

    conditions: tuple[str, ...]
    action: Any  # of any type that numpy holds
    n_rows: int
    share: float
    share_logged: float
    share_agreeing: float
    advantage: float
    otherwise: tuple[Any, ...] = ()

    @property
    def taken(self) -> str:
        """What is done, as it reads in a sentence."""
        if not self.otherwise:
            return action_text(self.action)
        others = [*map(action_text, self.otherwise[:_OTHERS])]
        others += ["another"] * (len(self.otherwise) > _OTHERS)
        where = f"{action_text(self.action)} where available"
        return f"{where}, otherwise {' or '.join(others)}"

    def __str__(self) -> str:
        where = f"if {' and '.join(self.conditions)}: " if self.conditions else ""
        return f"{where}take {self.taken} ({self.n_rows:,} rows, {percent(self.share)})"


@dataclass(frozen=True, eq=False)
class PolicyExplanation:
    """A short tree in the place of a policy, see `explain_policy`.

    Parameters
    ----------
    tree_ : Pipeline
        The tree as a policy of states as X has them, which all metrics take: it has
        ``predict``, and ``predict_proba`` or ``action_nodes``.
    depth : int
        Splits from the root to the lowest leaf.
    rules : tuple of Rule
        The leaves, from left to right.
    value, full_value : OffPolicyEstimate
        Of trees that were each grown without a fold of episodes, on that fold, and of
        the policy on the same folds.
    loss : ValueDifference
        The policy's value less the tree's, episode by episode.
    agreement : float
        Share of the logged states in which the tree decides as the policy does.
    fold_agreement : tuple of float
        Of each of the trees that ``value`` and ``loss`` are of, the share of the logged
        states in which it decides as ``tree_``: where that is small, so is what the two
        say of ``tree_``.
    depths : tuple of dict
        What was tried: ``depth``, the tree's ``agreement`` with the policy, ``loss``,
        and the loss's ``standard_error``.
    n_rows, n_episodes : int
        What the log holds; without episodes each row counts as one.
    """

    tree_: Pipeline
    depth: int
    rules: tuple[Rule, ...]
    value: OffPolicyEstimate
    full_value: OffPolicyEstimate
    loss: ValueDifference
    agreement: float
    fold_agreement: tuple[float, ...]
    depths: tuple[dict[str, float], ...]
    n_rows: int
    n_episodes: int

    @property
    def cut_off(self) -> bool:
        """Whether the search for an optimal tree ended at its limit of time."""
        return bool(self.tree_[-1].rules_.cut_off)

    def to_text(self) -> str:
        """The rules, one a line.

        Returns
        -------
        str
        """
        return "\n".join(map(str, self.rules))

    def summary(self) -> str:
        """What the tree is worth, in sentences.

        Returns
        -------
        str
        """
        return (
            f"{in_words(self)}\nHeld-out value of these trees "
            f"{with_error(self.value)}, of the policy on the same folds (estimated "
            f"anew, to be beside theirs) {with_error(self.full_value)}."
        )

    def __str__(self) -> str:
        return f"{self.summary()}\n{self.to_text()}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.summary())}</p>{html_table(*self.table())}"

    def table(self) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """The rules as cells of a table.

        Returns
        -------
        heads : tuple of str
        lines : tuple of tuple of str
            One for each rule.
        """
        asked, of_both = (
            ("if", "take", "rows", "share"),
            ("logged there", "policy agrees"),
        )
        heads = *asked, *of_both, "worth more by"
        return heads, tuple(
            (
                " and ".join(rule.conditions) or "always",
                rule.taken,
                f"{rule.n_rows:,}",
                percent(rule.share),
                percent(rule.share_logged),
                percent(rule.share_agreeing),
                f"{rule.advantage:.3g}",
            )
            for rule in self.rules
        )


def explain_policy(
    policy: object,
    X: object,
    y: ArrayLike | None = None,
    *,
    discount: float | None = None,
    max_depth: int | None = None,
    optimal: bool = False,
    cv: int | Splitter = 5,
    feature_names: Sequence[str] | None = None,
    sample_weight: ArrayLike | None = None,
    confidence_level: float = 0.95,
    random_state: RandomStateLike = 0,
) -> PolicyExplanation:
    """Explain a policy by a short tree that decides nearly alike, and by its value.

    The tree imitates the policy's decisions where they matter: a state counts as often
    as the tree would come to it, times what another supported action would cost there
    at most, by a fitted Q of the policy. A leaf does what costs least in it, of what
    the log supports in it. Continuous actions are the mean of the policy's.

    Trees of each depth are grown without a fold of whole episodes, and evaluated on
    that fold, as the policy is. The depth is the larger of two: the smallest
    whose tree decides as the policy in at most a tenth of the logged states less than
    the tree of any depth; and the smallest whose tree is worth less than the best, by a
    fitted Q, by at most a tenth of what lies between the best and the worst.

    Parameters
    ----------
    policy : object with ``predict_proba`` and ``classes_``, or ``action_nodes``
        A fitted policy; a pipeline or a search that ends in one, too. Rules are in the
        columns that X has before the pipeline, which may be text or have missing
        values (these count as the column's median, or are asked for).
    X : Transitions, or array-like or DataFrame of shape (n, d)
        The log, which should be one that the policy was not learned from.
    y : DataFrame, structured array or array-like, default=None
        As in `StackelbergPolicyEstimator.fit`.
    discount : float, default=None
        γ, in [0, 1]. None is the policy's own.
    max_depth : int, default=None
        The largest depth that is tried, > 0. None is 4: sixteen rules.
    optimal : bool, default=False
        Whether trees are the best of all of their depth, by pystreed, on thresholds
        that are quantiles of the columns; for discrete actions. False chooses one split
        after the other, which is faster.
    cv : int or splitter, default=5
        Folds of whole episodes; or what has ``split(log)``, whose test parts hold each
        row once, such as `EpisodeKFold`.
    feature_names : list of str, default=None
        Names of the columns. None takes those of a DataFrame, or the policy's
        ``feature_names_in_``.
    sample_weight : array-like of shape (n,), default=None
        As in `fitted_q_value`.
    confidence_level : float, default=0.95
        Of the estimates, in (0, 1).
    random_state : int, RandomState instance or None, default=0
        Draws folds and landmarks.

    Returns
    -------
    PolicyExplanation
        Whose ``str`` has the rules; ``tree_`` is a policy itself.

    Raises
    ------
    ValueError
        As `fitted_q_value`, and if there is no discount, or no name for each column.
    ImportError
        If ``optimal`` is True and pystreed is not installed.

    Warns
    -----
    TrainingRowsWarning
        If the policy was learned from these rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> from sklearn_stackelberg.inspection import explain_policy
    >>> rng = np.random.default_rng(0)
    >>> pulse, drug = rng.integers(5, 13, (400, 1)) * 10, rng.choice(["A", "B"], 400)
    >>> reward = ((pulse[:, 0] > 90) == (drug == "B")) + 0.1 * rng.normal(size=400)
    >>> log = Transitions(pulse, drug, reward, pulse, np.ones(400))
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log[:200])
    >>> found = explain_policy(policy, log[200:], feature_names=["pulse"])
    >>> print(found.to_text())
    if pulse <= 90: take 'A' (119 rows, 60 %)
    if pulse > 90: take 'B' (81 rows, 40 %)
    """
    rules = {"max_depth": integer(1, None), "optimal": flag()}
    check_rules({"max_depth": max_depth, "optimal": optimal}, rules)
    check_level(confidence_level)
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    log = ExplainedLog.of(policy, X, y, sample_weight, feature_names)
    if optimal and not find_spec("pystreed"):
        raise ImportError(
            "optimal=True needs pystreed, which is not installed: pip install pystreed"
        )
    if optimal and not hasattr(log.policy, "classes_"):
        raise ValueError(
            "optimal=True is for discrete actions, and this policy's are continuous."
        )
    gamma = discount_of(log.policy, discount)
    refuse_endless(log.seen, gamma)
    _warn_of_training_rows(log)
    depths = range(1, (max_depth or _DEPTH) + 1)
    with warnings.catch_warnings():
        # Of a part of the log; what there is to say of the whole, metrics say.
        warnings.simplefilter("ignore", UserWarning)
        evaluation = SharedEvaluation(
            log.seen, gamma, cv, log.policy, confidence_level, seed
        )
        found = [
            _trees(
                Imitation(log.policy, log.seen[train], gamma, log.find, optimal),
                depths,
                seed,
            )
            for train, _ in evaluation.splits
        ]
        n_folds = evaluation.n_folds
        full = evaluation.value([log.policy] * n_folds)
        values = [
            evaluation.value([seen_by_rows(trees[place], log.find) for trees in found])
            for place in range(len(depths))
        ]
        losses = [difference(full, value) for value in values]
        imitation = Imitation(log.policy, log.seen, gamma, log.find, optimal)
        trees = _trees(imitation, depths, seed)
        agreements = [_agreement(log, _compared(log, tree)[2]) for tree in trees]
        place = _shortest(agreements, [imitation.value(tree) for tree in trees])
        tree = trees[place]
        columns = OnStates(FrozenEstimator(log.columns)).fit(log.given)
        leaves = _rules(log, imitation, tree)
        alike = tuple(_share_alike(log, tree, trees[place]) for trees in found)
    return PolicyExplanation(
        tree_=Pipeline([("columns", columns), ("tree", tree)]),
        depth=tree.rules_.depth,
        rules=leaves,
        value=values[place],
        full_value=full,
        loss=losses[place],
        agreement=agreements[place],
        fold_agreement=alike,
        depths=tuple(
            {
                "depth": depth,
                "agreement": agreement,
                "loss": loss.value,
                "standard_error": loss.standard_error,
            }
            for depth, agreement, loss in zip(depths, agreements, losses, strict=True)
        ),
        n_rows=len(log.seen),
        n_episodes=evaluation.data.n_episodes,
    )


def _trees(imitation: Imitation, depths: Sequence[int], seed: int) -> list[TreePolicy]:
    return [imitation.tree(depth, seed) for depth in depths]


def _shortest(agreements: Sequence[float], values: Sequence[float]) -> int:
    """The later of two: the first that decides nearly as any, and is worth nearly that.

    Values are a fitted Q's. Of a few dozen episodes a held-out loss has an error as
    large as the policy's gain, and rules of standard errors may end at a stump.
    """
    alike, worth = np.array(agreements), np.array(values)
    decides = alike >= alike.max() - _FEWER
    pays = worth >= worth.max() - _LESS * np.ptp(worth)
    return int(max(decides.argmax(), pays.argmax()))


def _agreement(log: ExplainedLog, same: Flags) -> float:
    return float(np.average(same, weights=log.seen.weight))


def _warn_of_training_rows(log: ExplainedLog) -> None:
    # By way of this function it names the line that called `explain_policy`.
    warn_of_training_rows(log.policy, log.seen)


def _rules(
    log: ExplainedLog, imitation: Imitation, tree: TreePolicy
) -> tuple[Rule, ...]:
    """What each leaf stands for among all logged rows."""
    seen = log.seen
    weight = np.ones(len(seen)) if seen.weight is None else seen.weight
    done, same_as_logged, same_as_policy = _compared(log, tree)
    more = imitation.advantage(seen, done)
    leaf = tree.rules_.apply(log.numbers)
    conditions = tree.rules_.conditions(log.columns.columns_)
    rules = []
    for node in tree.rules_.leaves:
        inside = np.flatnonzero(leaf == node)
        own = weight[inside]
        # Of a part of a long log the tree was grown, and a leaf may have no row left.
        total = float(own.sum()) or 1.0
        action, *otherwise = tree.actions_of(int(node), done[inside])
        rules.append(
            Rule(
                tuple(conditions[int(node)]),
                action,
                len(inside),
                float(own.sum() / weight.sum()),
                float(own @ same_as_logged[inside] / total),
                float(own @ same_as_policy[inside] / total),
                float(own @ more[inside] / total),
                tuple(otherwise),
            )
        )
    return tuple(rules)


def _compared(log: ExplainedLog, tree: TreePolicy) -> tuple[AnyArray, Flags, Flags]:
    """What a tree does in each row, and whether the logger, and the policy, did it."""
    seen, policy = log.seen, log.policy
    states = like(seen.state, np.asarray(seen.state, dtype=np.float64))
    done = _done(log, tree)
    if isinstance(tree, DiscreteTreePolicy):
        decided = probabilities_of(policy, states, _mask(log, tree)).argmax(axis=1)
        return done, tree.classes_[done] == seen.action, done == decided
    logged = as_numbers(seen.action)
    decided = action_nodes(policy, states, logged.shape[1], greedy=True)[0][:, 0]
    return done, _near(logged, done, logged), _near(logged, done, decided)


def _share_alike(log: ExplainedLog, tree: TreePolicy, other: TreePolicy) -> float:
    """The share of the logged states in which two trees decide alike."""
    one, two = _done(log, tree), _done(log, other)
    same = one == two
    if not isinstance(tree, DiscreteTreePolicy):
        same = _near(as_numbers(log.seen.action), one, two)
    return _agreement(log, same)


def _done(log: ExplainedLog, tree: TreePolicy) -> AnyArray:
    """What a tree does in each row: a column of its actions, (n,), or numbers."""
    if isinstance(tree, DiscreteTreePolicy):
        return tree.codes(log.numbers, _mask(log, tree))
    return tree.action_nodes(log.numbers)[0][:, 0]


def _mask(log: ExplainedLog, tree: DiscreteTreePolicy) -> Flags | None:
    masks = masks_of(log.seen, tree.classes_)
    return None if masks is None else masks[0]


def _near(logged: Floats, one: Floats, other: Floats) -> Flags:
    low, high = np.quantile(logged, [0.05, 0.95], axis=0)
    return (np.abs(one - other) <= _NEAR * (high - low) + 1e-12).all(axis=1)


def in_words(found: PolicyExplanation) -> str:
    """How far a tree decides as the policy, and what it loses or gains beside it."""
    n, loses = len(found.rules), found.loss.value >= 0.0
    cut = (
        f"The search for the best tree ended at its limit of {TIME_LIMIT:g} s: this "
        "one may not be optimal.\n"
    ) * found.cut_off
    alike = percent(float(np.mean(found.fold_agreement)))
    of_amounts = not isinstance(found.tree_[-1], DiscreteTreePolicy)
    near = ", to a tenth of the logged range," * of_amounts
    return (
        f"A tree of depth {found.depth}, {n} rule{'s' * (n != 1)}: it decides as the "
        f"policy{near} in {percent(found.agreement)} of {found.n_rows:,} logged states."
        f"\n"
        f"{cut}Beside the policy it {'loses' if loses else 'gains'} "
        f"{with_error(found.loss if loses else -found.loss)}, by "
        f"{len(found.fold_agreement)} trees, each grown without the fold that it is "
        f"evaluated on, which decide as this one in {alike} of the states."
    )


def action_text(action: object) -> str:
    """An action as it reads in a rule."""
    if isinstance(action, tuple):
        return f"({', '.join(action_text(one) for one in action)})"
    return f"{action:.4g}" if isinstance(action, float) else repr(action)
