"""Finite Markov decision processes whose values are exact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._typing import Floats
from ..transitions._transitions import Transitions
from ._chain import chain_values, sample_episodes
from ._environments import (
    Predictor,
    Seed,
    as_generator,
    open_environment,
    positive,
    positive_or_none,
)
from ._finite_states import AvailableIn, as_mask, integer_states, integers

if TYPE_CHECKING:
    import gymnasium

Policy = ArrayLike | Predictor

# How close to 1 a discount stands in for 1 while a policy is being optimised. The
# condition of the linear solve grows as 1 / (1 - discount): 1e-7 leaves it 9 digits.
_NEARLY_ONE = 1.0 - 1e-7


class FiniteMDP:
    """A Markov decision process with S states and A actions, given by arrays.

    Values are expected discounted returns, sum_t discount^t r_t, not scaled by
    ``1 - discount``. They come from linear solves, not from simulation.

    Parameters
    ----------
    transition : array of shape (S, A, S)
        Probability of the next state. Each ``transition[s, a]`` sums to 1.
    reward : array of shape (S, A, S) or (S, A)
        Expected reward of a transition, or of a state and action.
    initial : array of shape (S,)
        Probability of starting in a state.
    terminal : array of shape (S,) of bool, or (S, A, S) of float, default=None
        States that end an episode when entered and are worth 0, whatever their rows of
        ``transition`` and ``reward`` hold; or the probability that the transition ends
        it. None: no episode ever terminates.
    encode : {"integer", "one-hot"}, default="integer"
        How estimators and logs see states: one integer column, or S of 0 and 1.
    available : array of bool of shape (S, A), default=None
        Which actions can be taken in each state: the optimal policy takes no others,
        and logs that are sampled hold it as a rule (`Transitions`; pandas is needed).
        None is all.

    Attributes
    ----------
    transition, reward, termination : ndarray of shape (S, A, S)
        The process; ``termination`` is a probability given (s, a, s').
    expected_reward : ndarray of shape (S, A)
        Mean reward of a state and action.
    initial : ndarray of shape (S,)
        Initial distribution.
    available : ndarray of shape (S, A) of bool, or None
        As given.
    visits : ndarray of shape (S, A) of int, or None
        How often each pair was logged, when made by `from_counts`.
    n_states, n_actions : int
        S and A.

    Raises
    ------
    ValueError
        When shapes disagree, or probabilities are negative or do not sum to 1.

    Examples
    --------
    Action 1 moves on from state 0, and state 1 ends the episode:

    >>> import numpy as np
    >>> from sklearn_stackelberg.datasets import FiniteMDP
    >>> transition = np.zeros((2, 2, 2))
    >>> transition[0, 0, 0] = transition[0, 1, 1] = 1.0
    >>> reward, initial, terminal = [[0, 1], [0, 0]], [1, 0], [False, True]
    >>> mdp = FiniteMDP(transition, reward, initial, terminal)
    >>> mdp.optimal_policy(discount=0.9).tolist()
    [1, 0]
    >>> round(mdp.policy_value(np.full((2, 2), 0.5), discount=0.9), 6)
    0.909091
    """

    def __init__(
        self,
        transition: ArrayLike,
        reward: ArrayLike,
        initial: ArrayLike,
        terminal: ArrayLike | None = None,
        *,
        encode: str = "integer",
        available: ArrayLike | None = None,
    ) -> None:
        transition = np.array(transition, dtype=float)
        if transition.ndim != 3 or transition.shape[0] != transition.shape[2]:
            raise ValueError(
                f"transition has shape {transition.shape}; expected (S, A, S), the "
                "probabilities of next states."
            )
        n_states, n_actions, _ = shape = transition.shape
        reward = np.array(reward, dtype=float)
        # The mean reward of a pair stands for each of its next states.
        if reward.shape == shape[:2]:
            reward = np.repeat(reward[:, :, None], n_states, axis=2)
        if reward.shape != shape:
            raise ValueError(
                f"reward has shape {reward.shape}; expected {shape} or {shape[:2]}."
            )
        terminal = np.zeros(n_states, dtype=bool) if terminal is None else terminal
        termination = np.array(terminal)
        if termination.shape == (n_states,):
            # Entering one ends the episode, so what follows cannot matter; staying
            # where it is, unpaid, makes its own value 0.
            absorbing = termination.astype(bool)
            termination = np.zeros(shape)
            termination[:, :, absorbing] = 1.0
            transition[absorbing] = np.eye(n_states)[absorbing, None, :]
            reward[absorbing] = 0.0
        if termination.shape != shape:
            raise ValueError(
                f"terminal has shape {termination.shape}; expected a bool per state, "
                f"({n_states},), or a probability per transition, {shape}."
            )
        termination = termination.astype(float)
        if not ((termination >= 0) & (termination <= 1)).all():
            raise ValueError("terminal holds probabilities outside [0, 1].")
        if not np.isfinite(reward).all():
            raise ValueError("reward holds NaN or infinity; give finite rewards.")
        if encode not in ("integer", "one-hot"):
            raise ValueError(f"encode is {encode!r}; expected 'integer' or 'one-hot'.")
        self.transition = distributions(transition, "transition", shape)
        self.initial = distributions(initial, "initial", (n_states,))
        self.reward, self.termination = reward, termination
        self.expected_reward = (transition * reward).sum(axis=2)  # (S, A)
        self.n_states, self.n_actions = n_states, n_actions
        self.encode = encode
        self.available: NDArray[np.bool_] | None = None
        if available is not None:
            self.available = as_mask(available, (n_states, n_actions))
        self.visits: NDArray[np.intp] | None = None

    @classmethod
    def from_gymnasium(
        cls, env: str | gymnasium.Env, *, encode: str = "integer"
    ) -> FiniteMDP:
        """Read the process of a Gymnasium toy-text environment.

        Parameters
        ----------
        env : str or gymnasium.Env
            An id, or an environment whose ``unwrapped`` has ``P`` and
            ``initial_state_distrib``.
        encode : {"integer", "one-hot"}, default="integer"
            See the class.

        Returns
        -------
        FiniteMDP
            Outcomes that share a state, an action and a next state are merged: sampled
            rewards are their mean. The environment's time limit is not part of the
            process: give it as ``horizon``.

        Examples
        --------
        >>> from sklearn_stackelberg.datasets import FiniteMDP
        >>> lake = FiniteMDP.from_gymnasium("FrozenLake-v1")
        >>> best = lake.optimal_policy(discount=0.99)
        >>> print(round(lake.policy_value(best, discount=1.0, horizon=100), 2))
        0.74
        """
        with open_environment(env) as opened:
            # The time limit is a wrapper's, and is left out with it.
            inner = opened.unwrapped
            outcomes = getattr(inner, "P", None)
            initial = getattr(inner, "initial_state_distrib", None)
        if outcomes is None or initial is None:
            raise ValueError(
                f"{env!r} has no P and initial_state_distrib, as toy-text environments "
                "(FrozenLake-v1) have; use log_episodes to log it."
            )
        n_states, n_actions = len(outcomes), len(outcomes[0])
        # Outcomes that lead to one state add up: what they pay and whether they end is
        # averaged with their probabilities.
        mass, gain, stop = np.zeros((3, n_states, n_actions, n_states))
        for s in range(n_states):
            for a in range(n_actions):
                for probability, after, reward, done in outcomes[s][a]:
                    mass[s, a, after] += probability
                    gain[s, a, after] += probability * reward
                    stop[s, a, after] += probability * bool(done)
        return cls(mass, ratio(gain, mass), initial, ratio(stop, mass), encode=encode)

    @classmethod
    def from_counts(
        cls,
        transitions: Transitions,
        *,
        n_states: int | None = None,
        n_actions: int | None = None,
        encode: str = "integer",
    ) -> FiniteMDP:
        """Return the maximum-likelihood process of a log of finite states.

        Parameters
        ----------
        transitions : Transitions
            States as one column of integers from 0, or as one-hot rows; actions
            as integers from 0.
        n_states, n_actions : int, default=None
            S and A. None: one more than the largest seen.
        encode : {"integer", "one-hot"}, default="integer"
            See the class.

        Returns
        -------
        FiniteMDP
            Pairs (s, a) that were never logged end the episode at once with reward 0
            (where rewards are negative, that is the *best* there is); `visits` is 0
            there. Episodes start as the rows marked ``is_initial`` do, or as all do.

        Examples
        --------
        >>> from sklearn_stackelberg import Transitions
        >>> from sklearn_stackelberg.datasets import FiniteMDP
        >>> log = Transitions([[0], [0]], [1, 1], [1, 0], [[1], [0]], [True, False])
        >>> mdp = FiniteMDP.from_counts(log)
        >>> mdp.visits.tolist(), mdp.expected_reward[0, 1].item()
        ([[0, 2], [0, 0]], 0.5)
        """
        before = integer_states(transitions.state)
        after = integer_states(transitions.next_state)
        action = integers(transitions.action, "action")
        n_states = size(n_states, np.concatenate([before, after]), "state")
        n_actions = size(n_actions, action, "action")
        rows = (before, action, after)
        mass, gain, stop = np.zeros((3, n_states, n_actions, n_states))
        # add.at: rows name a transition more than once, and += would count it once.
        np.add.at(mass, rows, 1.0)
        np.add.at(gain, rows, np.asarray(transitions.reward, dtype=float))
        np.add.at(stop, rows, np.asarray(transitions.terminated, dtype=float))
        visits = mass.sum(axis=2)  # (S, A)
        transition = ratio(mass, visits[:, :, None])
        termination = ratio(stop, mass)
        # Nothing is known of these pairs: any next state would do, as they end there.
        s, a = np.nonzero(visits == 0)
        transition[s, a, s] = termination[s, a, s] = 1.0
        starts = before[np.asarray(transitions.is_initial, dtype=bool)]
        starts = np.bincount(starts if len(starts) else before, minlength=n_states)
        initial, reward = starts / starts.sum(), ratio(gain, mass)
        mdp = cls(transition, reward, initial, termination, encode=encode)
        mdp.visits = visits.astype(np.intp)
        return mdp

    def one_hot(self, states: ArrayLike) -> Floats:
        """Return integer states as rows of 0 and 1.

        Parameters
        ----------
        states : array-like of int of shape (n,) or (n, 1)

        Returns
        -------
        ndarray of shape (n, S)
        """
        return np.eye(self.n_states)[integer_states(np.asarray(states))]

    def states(self) -> NDArray[Any]:
        """Return every state in order, as estimators see it.

        Returns
        -------
        ndarray of shape (S, 1) or (S, S)
        """
        return self._encoded(np.arange(self.n_states))

    def state_values(
        self, policy: Policy, discount: float, horizon: int | None = None
    ) -> Floats:
        """Return the exact value of a policy in every state.

        Parameters
        ----------
        policy : array of shape (S,) or (S, A), or a fitted estimator
            An action per state, a probability per state and action, or an object whose
            ``predict`` gives actions for ``states()``, or else whose ``predict_proba``
            has all A actions as columns. Pass probabilities to evaluate a stochastic
            policy that has both.
        discount : float in [0, 1]
            1 is exact too: states that are never left add nothing if they pay nothing.
        horizon : int, default=None
            Number of steps after which the episode is cut. None: never.

        Returns
        -------
        ndarray of shape (S,)

        Raises
        ------
        ValueError
            If ``discount=1`` and the policy collects rewards for ever from some state.
        """
        values = self._values(self._probabilities(policy), discount, horizon)
        return self._finite(values, np.arange(self.n_states))

    def policy_value(
        self, policy: Policy, discount: float, horizon: int | None = None
    ) -> float:
        """Return the exact value of a policy from the initial distribution.

        Parameters
        ----------
        policy, discount, horizon
            As in `state_values`; only states that can be reached from the start matter.

        Returns
        -------
        float
        """
        values = self._values(self._probabilities(policy), discount, horizon)
        start = np.flatnonzero(self.initial)
        return float(self.initial[start] @ self._finite(values, start))

    def q_values(
        self, policy: Policy, discount: float, horizon: int | None = None
    ) -> Floats:
        """Return the exact value of each action, then the policy.

        Parameters
        ----------
        policy, discount, horizon
            As in `state_values`.

        Returns
        -------
        ndarray of shape (S, A)
        """
        if horizon == 1:
            return self.expected_reward.copy()
        # The action is the first of `horizon` steps, and the policy takes the others.
        later = None if horizon is None else positive(horizon, "horizon") - 1
        return self._look_ahead(self.state_values(policy, discount, later), discount)

    def optimal_policy(self, discount: float) -> NDArray[np.intp]:
        """Return an optimal action per state, by policy iteration.

        Parameters
        ----------
        discount : float in [0, 1]
            1 is taken as 1 - 1e-7, so that a policy which ends the episode wins over
            one that waits for ever.

        Returns
        -------
        ndarray of int of shape (S,)
        """
        discount = min(as_discount(discount), _NEARLY_ONE)
        everywhere = np.arange(self.n_states)
        best = np.argmax(self._only_available(self.expected_reward), axis=1)
        while True:
            values = self._values(np.eye(self.n_actions)[best], discount, None)
            seen = self._look_ahead(values, discount)
            q = self._only_available(seen)
            # An action is replaced only by a strictly better one: ties would make
            # policy iteration cycle, and could swap progress for waiting.
            gain = q.max(axis=1) - q[everywhere, best]
            # By more than rounding; 1e-300 is for a process that pays nothing.
            better = gain > 1e-12 * np.abs(seen).max(initial=1e-300)
            if not better.any():
                return best
            best = np.where(better, np.argmax(q, axis=1), best)

    def optimal_value(self, discount: float) -> float:
        """Return the exact value of `optimal_policy` from the start.

        Parameters
        ----------
        discount : float in [0, 1]

        Returns
        -------
        float
        """
        return self.policy_value(self.optimal_policy(discount), discount)

    def sample(
        self,
        policy: Policy,
        n_transitions: int,
        random_state: Seed = None,
        *,
        horizon: int | None = None,
    ) -> Transitions:
        """Sample a log of a policy, with its propensities.

        Parameters
        ----------
        policy : array of shape (S,) or (S, A), or a fitted estimator
            As in `state_values`.
        n_transitions : int
            Number of rows. The last episode is cut there.
        random_state : int, Generator, RandomState or None, default=None
            Seed. Global random state is neither read nor changed.
        horizon : int, default=None
            Longest episode, in steps. A cut episode is not ``terminated``.

        Returns
        -------
        Transitions
            Whole episodes one after the other, states encoded as in `states`.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_stackelberg.datasets import FiniteMDP
        >>> lake = FiniteMDP.from_gymnasium("FrozenLake-v1")
        >>> log = lake.sample(np.full((16, 4), 0.25), 1000, 0, horizon=100)
        >>> log.state.shape, float(log.propensity[0])
        ((1000, 1), 0.25)
        """
        n_transitions = positive(n_transitions, "n_transitions")
        limit = positive_or_none(horizon, "horizon")
        policy = self._probabilities(policy)
        log = sample_episodes(
            (self.initial, policy, self.transition, self.termination),
            n_transitions,
            as_generator(random_state),
            limit,
        )
        # Copies of the columns: each is a view, which would keep the whole table alive.
        s, a = log["state"], log["action"]
        return Transitions(
            self._encoded(s),
            a.copy(),
            self.reward[s, a, log["next_state"]],
            self._encoded(log["next_state"]),
            log["terminated"].copy(),
            is_initial=log["step"] == 0,
            episode=log["episode"].copy(),
            step=log["step"].copy(),
            propensity=policy[s, a],
            available=None if self.available is None else AvailableIn(self.available),
        )

    def _only_available(self, q: Floats) -> Floats:
        """The values, (S, A), -inf where an action cannot be taken."""
        return q if self.available is None else np.where(self.available, q, -np.inf)

    def _encoded(self, states: NDArray[np.intp]) -> NDArray[Any]:
        if self.encode == "integer":
            return np.array(states)[:, None]
        return self.one_hot(states)

    def _probabilities(self, policy: Policy) -> Floats:
        # What a policy does is what it predicts, though it may have probabilities.
        if hasattr(policy, "predict"):
            policy = policy.predict(self.states())
        elif hasattr(policy, "predict_proba"):
            policy = policy.predict_proba(self.states())
        policy = np.asarray(policy)
        shape = (self.n_states, self.n_actions)
        if policy.shape == shape[:1]:
            action = integers(policy, "policy")
            size(self.n_actions, action, "action")
            return np.eye(self.n_actions)[action]
        if policy.shape == shape:
            return distributions(policy, "policy", shape)
        raise ValueError(
            f"The policy has shape {policy.shape}; expected {shape[:1]} (actions) or "
            f"{shape} (probabilities)."
        )

    def _look_ahead(self, values: Floats, discount: float) -> Floats:
        not_done = self.transition * (1.0 - self.termination)  # (S, A, S)
        return self.expected_reward + discount * not_done @ values

    def _values(self, policy: Floats, discount: float, horizon: int | None) -> Floats:
        """Return the values, NaN where the undiscounted return has no limit."""
        # Where an episode ends no value follows: what goes on sums to less than 1.
        ends = self.transition * self.termination  # (S, A, S)
        return chain_values(
            np.einsum("sa,sat->st", policy, self.transition - ends),
            np.einsum("sa,sat->s", policy, ends) > 0,
            (policy * self.expected_reward).sum(axis=1),
            as_discount(discount),
            positive_or_none(horizon, "horizon"),
        )

    def _finite(self, values: Floats, states: NDArray[np.intp]) -> Floats:
        bad = states[np.isnan(values[states])]
        if len(bad):
            raise ValueError(
                f"From states {bad[:10].tolist()} this policy collects rewards for "
                "ever. Give a horizon, or a discount below 1."
            )
        return values[states]


def distributions(values: ArrayLike, name: str, shape: tuple[int, ...]) -> Floats:
    """Return the values, refused unless they are distributions on the last axis."""
    values = np.asarray(values, dtype=float)
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}; expected {shape}.")
    # What was written with six digits, or kept in 32 bits, sums to 1 within 1e-6.
    wrong = ~np.isclose(values.sum(axis=-1), 1.0, rtol=0, atol=1e-6)
    wrong |= ~(values >= 0).all(axis=-1)
    if wrong.any():
        where = f" at {np.argwhere(wrong)[:10].tolist()}" if len(shape) > 1 else ""
        raise ValueError(
            f"{name} holds probabilities that are negative or do not sum to 1{where}."
        )
    return values


def ratio(above: NDArray[Any], below: NDArray[Any]) -> Floats:
    """Return above / below, and 0 where nothing was counted."""
    return np.divide(above, below, out=np.zeros(above.shape), where=below > 0)


def size(given: int | None, values: NDArray[np.intp], name: str) -> int:
    # As many as given, because a log need not hold the last of them.
    largest = int(values.max())
    if given is None:
        return largest + 1
    if largest >= given:
        raise ValueError(f"{name} {largest} was given, but n_{name}s is {given}.")
    return int(given)


def as_discount(discount: float) -> float:
    # Unlike an estimator's, it may be 1: values are exact, by the absorbing chain.
    if not 0.0 <= discount <= 1.0:
        raise ValueError(f"discount is {discount!r}; expected a number in [0, 1].")
    return float(discount)
