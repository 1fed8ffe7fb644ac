"""Who is judged, and on which rows: a policy and a log, made ready for the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from .._log.actions import check_same_amounts
from .._log.linking import encode
from ..solvers.rows import index_states
from ..transitions import Transitions, shared_next_rows
from .nodes import (
    Floats,
    action_nodes,
    as_numbers,
    check_chances,
    check_numbers,
    far_share,
    is_continuous,
    refuse_far,
    refuse_labels_of,
)
from .unwrapping import unwrap

# A policy that gives more than this share of its probability to actions that the log
# never holds is not judged: whatever number came out would be made up.
_LARGEST_UNSEEN_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class JudgedLog:
    """A log as a policy sees it.

    Parameters
    ----------
    policy : object
        Without the search or the pipeline around it.
    log : Transitions
        The rows that have a weight, transformed as the policy's pipeline does.
    rows : int array of shape (n,)
        Where they stand in what the user gave.
    weight : array of shape (n,)
        Sums to 1.
    states : array of shape (N, d)
        States and next states, each once where a next state is the next row's state.
    state_index, next_index : int array of shape (n,)
        Where each row's are in ``states``.
    chances : array of shape (N, A)
        π(a | s) of ``states``; of a continuous policy the weights of its nodes.
    codes : int array of shape (n,), or None
        Logged actions, as columns of ``chances``; None of a continuous policy.
    nodes : array of shape (N, A, p), default=None
        The actions that stand for a continuous policy in each of ``states``.
    """

    policy: Any
    log: Transitions
    rows: NDArray[np.intp]
    weight: Floats
    states: Floats
    state_index: NDArray[np.intp]
    next_index: NDArray[np.intp]
    chances: Floats
    codes: Any
    nodes: Floats | None = None

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def n_actions(self) -> int:
        """A."""
        return self.chances.shape[1]

    @cached_property
    def has_shared_nodes(self) -> bool:
        """Whether a continuous policy's nodes are the same actions in every state."""
        nodes = self.nodes
        if nodes is None or not np.array_equal(nodes[0], nodes[-1]):
            return False
        return bool((nodes == nodes[0]).all())

    @property
    def actions(self) -> Floats:
        """The logged actions of a continuous policy's log, (n, p)."""
        return as_numbers(self.log.action)

    @property
    def state(self) -> Floats:
        """The logged states, (n, d)."""
        return self.states[self.state_index]

    @property
    def goes_on(self) -> Floats:
        """1 − terminated, (n,)."""
        return 1.0 - self.log.terminated

    @cached_property
    def initial(self) -> NDArray[np.intp]:
        """Rows whose states are initial: all, where the log marks none."""
        first = np.flatnonzero(self.log.is_initial)
        return first if len(first) else np.arange(len(self))

    @cached_property
    def initial_weight(self) -> Floats:
        """Weights of the initial rows, that sum to 1."""
        weight = self.weight[self.initial]
        return weight / weight.sum()

    @property
    def has_episodes(self) -> bool:
        """Whether rows can be told apart by episode."""
        return self.log.episode is not None

    @cached_property
    def episode(self) -> NDArray[np.intp]:
        """Codes of the rows' episodes; without them each row is one of its own."""
        return encode(self.log.episode) if self.has_episodes else np.arange(len(self))

    @cached_property
    def n_episodes(self) -> int:
        """Independent pieces that the log falls into."""
        return int(self.episode.max()) + 1

    @property
    def counted(self) -> str:
        """The pieces in words."""
        if self.has_episodes:
            return f"{self.n_episodes:,} episode{'s' * (self.n_episodes != 1)}"
        return f"{self.n_episodes:,} rows, each taken as independent of the others"

    def return_range(self, discount: float) -> tuple[float, float]:
        """Where returns must lie if rewards are no others than those logged."""
        return return_range(self.log, discount)

    def take(self, rows: NDArray[np.intp]) -> JudgedLog:
        """The log of some rows, with weights that sum to 1."""
        weight = self.weight[rows]
        return JudgedLog(
            self.policy,
            self.log[rows],
            self.rows[rows],
            weight / weight.sum(),
            self.states,
            self.state_index[rows],
            self.next_index[rows],
            self.chances,
            None if self.codes is None else self.codes[rows],
            self.nodes,
        )


def return_range(log: Transitions, discount: float) -> tuple[float, float]:
    """Where returns must lie if rewards are no others than those of a log."""
    low, high = float(log.reward.min()), float(log.reward.max())
    far = low / (1.0 - discount), high / (1.0 - discount)
    if not log.terminated.any():
        return far
    return min(low, far[0]), max(high, far[1])


def judge(
    policy: Any,
    X: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    greedy: bool = False,
) -> JudgedLog:
    """Make a policy and a log ready to be judged by.

    Parameters
    ----------
    policy : object with ``predict_proba`` and ``classes_``, or ``action_nodes``
        Pipelines and searches included. What has ``action_nodes`` and no ``classes_``
        is a continuous policy.
    X, y : as in `StackelbergPolicyEstimator.fit`
    sample_weight : array-like, default=None
        One weight for each row of X.
    greedy : bool, default=False
        Judge the most probable action, or what `predict` of a continuous policy
        returns, instead of the probabilities.

    Returns
    -------
    JudgedLog

    Raises
    ------
    ValueError
        If the log and the policy do not know each other's actions, or the weights or
        the states are not what they should be.
    """
    policy, log, rows, n_given = unwrap(policy, X, y)
    weight = _weights(sample_weight, n_given)[rows]
    if not weight.any():
        raise ValueError(
            "All rows that are transitions have sample_weight 0; give some a weight."
        )
    kept = np.flatnonzero(weight > 0)
    if len(kept) < len(log):
        log, rows, weight = log[kept], rows[kept], weight[kept]
    continuous = is_continuous(policy)
    if continuous:
        check_numbers(log.action)
    codes = None if continuous else _codes(log.action, np.asarray(policy.classes_))
    state = check_array(log.state, dtype=np.float64, input_name="state")
    after = log.next_or_own_state()
    after = check_array(after, dtype=np.float64, input_name="next_state")
    shared = shared_next_rows(log.with_states(state, after))
    states, state_index, next_index = index_states(state, after, shared)
    seen, nodes = like(log.state, states), None
    if continuous:
        check_same_amounts(getattr(policy, "action_names_", None), log.action_names)
        nodes, chances = action_nodes(policy, seen, as_numbers(log.action), greedy)
    else:
        chances = _probabilities(policy, seen, greedy)
    judged = JudgedLog(
        policy=policy,
        log=log,
        rows=rows,
        weight=weight / weight.sum(),
        states=states,
        state_index=state_index,
        next_index=next_index,
        chances=chances,
        codes=codes,
        nodes=nodes,
    )
    if continuous:
        share = judged.weight @ far_share(judged.actions, nodes, chances)[state_index]
        refuse_far(float(share), judged.actions)
    else:
        _refuse_unseen(judged, np.asarray(policy.classes_))
    return judged


def _weights(sample_weight: Any, n: int) -> Floats:
    """Weights of the rows of X, (n,)."""
    if sample_weight is None:
        return np.ones(n)
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.shape != (n,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}; one weight for each of the "
            f"{n} rows of the log was expected."
        )
    if weight.min() < 0 or not weight.any():
        raise ValueError(
            "sample_weight must be >= 0 and not zero everywhere; it goes from "
            f"{weight.min():g} to {weight.max():g}."
        )
    return weight


def _codes(action: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.intp]:
    refuse_labels_of(action, classes)
    unknown = np.setdiff1d(action, classes)
    if len(unknown):
        raise ValueError(
            f"The log holds actions that the policy was not fitted with: "
            f"{unknown[:5].tolist()}; it knows {classes.tolist()}. Fit the policy on a "
            "log that has them, or leave those rows out."
        )
    order = np.argsort(classes)
    return order[np.searchsorted(classes[order], action)]


def _probabilities(policy: Any, states: Any, greedy: bool) -> Floats:
    chances = np.asarray(policy.predict_proba(states), dtype=np.float64)
    shape = (len(states), len(policy.classes_))
    if chances.shape != shape:
        raise ValueError(
            f"predict_proba returned an array of shape {chances.shape} for "
            f"{shape[0]} states and {shape[1]} classes_; {shape} was expected."
        )
    check_chances(chances, "predict_proba", states)
    return np.eye(shape[1])[chances.argmax(axis=1)] if greedy else chances


def _refuse_unseen(judged: JudgedLog, classes: NDArray[Any]) -> None:
    seen = np.bincount(judged.codes, minlength=len(classes)) > 0
    share = judged.weight @ judged.chances[judged.state_index][:, ~seen]
    if share.sum() > _LARGEST_UNSEEN_SHARE:
        raise ValueError(
            f"The policy gives {100 * share.sum():.0f} % of its probability to actions "
            f"that the log never holds: {classes[~seen][:5].tolist()}; nothing is "
            "known of their rewards, so its value cannot be estimated. Judge it on a "
            "log that has them, or restrict it to "
            f"{classes[seen][:5].tolist()}."
        )


def like(template: Any, values: Floats) -> Any:
    """Values with the columns of a DataFrame, where the log's states are one."""
    if hasattr(template, "columns"):
        return type(template)(values, columns=template.columns)
    return values
