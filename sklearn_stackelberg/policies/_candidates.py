"""A softmax over candidate actions, and which actions are candidates."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from .._action_scale import ActionScale
from .._sampling import fixed_sample
from .._typing import Floats, RandomStateLike
from ..kernels._columns import center_and_spread
from ._base import ContinuousPolicy, split_prior
from ._quadrature import Nodes, as_head, head_dtype

# Candidates where the user asks for no number of them: in one dimension, and in more,
# where the same number of cells leaves each of them wider.
_LINE, _CENTRES = 17, 16

# Logged actions among which centres are found; more move them by little.
_CENTRE_ROWS = 20_000


class CandidateSoftmax(ContinuousPolicy, name="candidates"):
    """π(a_j|s) ∝ exp(score_j(s)): a softmax over the same candidates in every state.

    It never leaves its candidates, and needs no derivative in the action.

    Parameters
    ----------
    head : Tensor of shape (m,) or (m, 1), or nn.Module
        u of the scores φ(s, a_j)ᵀu, for inputs of shape (n, C, m); or a module that
        gives the scores, (n, C), from inputs of its own.
    candidates : Tensor of shape (C, p)
    has_prior : bool, default=False
        Whether the last C columns of a module's inputs are a log prior, which is added
        to the scores.

    Examples
    --------
    >>> import torch
    >>> policy = CandidateSoftmax(torch.tensor([1.0]), torch.tensor([[-1.0], [1.0]]))
    >>> nodes = policy(torch.tensor([[[0.0], [0.0]]]))
    >>> nodes.weights.tolist(), nodes.actions.tolist()
    ([[0.5, 0.5]], [[[-1.0], [1.0]]])
    """

    has_moving_actions = False
    candidates: Tensor

    def __init__(
        self, head: Tensor | nn.Module, candidates: Tensor, has_prior: bool = False
    ) -> None:
        super().__init__()
        self.head = as_head(head)
        # In another precision they may lie outside the bounds: predictions give these.
        self.exact = candidates.double()
        self.n_outputs = len(candidates)
        self.n_prior = self.n_outputs if has_prior else 0
        self.register_buffer("candidates", candidates.to(head_dtype(self.head)))

    @classmethod
    def from_log(
        cls,
        actions: Floats,
        low: Floats,
        high: Floats,
        *,
        candidates: int | ArrayLike | None = None,
        random_state: RandomStateLike = None,
    ) -> CandidateSoftmax:
        """Over the actions that `choose_candidates` finds."""
        found = choose_candidates(actions, low, high, candidates, random_state)
        return cls(torch.zeros(1), torch.from_numpy(found))

    def with_head(self, head: Tensor | nn.Module) -> CandidateSoftmax:
        """Over the same candidates, in the precision of another head."""
        return CandidateSoftmax(head, self.exact)

    def outputs(self, x: Tensor) -> Tensor:
        """Scores of the candidates, (n, C), of φ(s, a_j), (n, C, m), or a head's x."""
        x, prior = split_prior(x, self.n_prior)
        scores = self.head(x)
        return scores.squeeze(2) if scores.ndim == 3 else scores + prior

    def choice(self, outputs: Tensor) -> Nodes:
        """The candidates and their probabilities."""
        weights = torch.softmax(outputs, dim=1)
        return Nodes(self.candidates.expand(len(weights), -1, -1), weights)

    def predicted_nodes(self, outputs: Tensor) -> Nodes:
        """The candidates as given, and their probabilities in float64."""
        weights = torch.softmax(outputs.double(), dim=1)
        return Nodes(self.exact.expand(len(weights), -1, -1), weights)

    def mode(self, outputs: Tensor) -> Tensor:
        """The most probable candidates."""
        return self.exact[self.predicted_nodes(outputs).weights.argmax(dim=1)]

    def draw(self, outputs: Tensor, rng: np.random.RandomState) -> Tensor:
        """Candidates drawn by their probabilities."""
        cumulative = self.predicted_nodes(outputs).weights.numpy().cumsum(axis=1)
        # Probabilities add up to 1 but for rounding, which must not draw one too many.
        drawn = rng.uniform(size=(len(cumulative), 1)) * cumulative[:, -1:]
        return self.exact[torch.from_numpy((cumulative < drawn).sum(axis=1))]


def choose_candidates(
    actions: Floats,
    low: Floats,
    high: Floats,
    candidates: int | ArrayLike | None = None,
    random_state: RandomStateLike = None,
) -> Floats:
    """The actions that a policy may choose from.

    Parameters
    ----------
    actions : array of shape (n, p)
        Logged.
    low, high : array of shape (p,)
        Bounds.
    candidates : int, array-like of shape (C, p) or None, default=None
        A number C asks for so many: all logged actions, if there are no more distinct
        ones; in one dimension C logged actions that are quantiles, (j + 1/2) / C, of
        which a value that fills more than a share of 1 / C is one and the others are of
        what is left; in more the centres of C clusters of the logged actions (k-means).
        Both lie where the log does. None is 17 in one dimension and 16 in more. An
        array is taken as it is.
    random_state : int, RandomState instance or None, default=None
        Starts the clusters.

    Returns
    -------
    array of shape (C, p)

    Raises
    ------
    ValueError
        If there are fewer than two, or one lies outside the bounds.

    Examples
    --------
    >>> logged = np.array([[0.0]] * 40 + [[dose] for dose in range(1, 61)])
    >>> choose_candidates(logged, np.zeros(1), np.full(1, 60.0), 4).ravel()
    array([ 0., 10., 30., 50.])
    """
    p = actions.shape[1]
    if candidates is not None and np.ndim(candidates) > 0:
        return _checked(np.asarray(candidates, dtype=float), low, high)
    count = (
        (_LINE if p == 1 else _CENTRES)
        if candidates is None
        else int(np.asarray(candidates))
    )
    if count < 2:
        raise ValueError(
            f"candidates={candidates!r}, but a policy needs at least two actions to "
            "choose from."
        )
    distinct = np.unique(actions, axis=0)
    if len(distinct) < 2:
        raise ValueError(
            f"The log holds one action, {distinct[0].tolist()}, in all of its "
            f"{len(actions)} rows; a policy needs at least two to choose from."
        )
    if len(distinct) <= count:
        return distinct.astype(float)
    if p == 1:
        return _quantiles(actions[:, 0].astype(float), count)[:, None]
    # As long to import as a tenth of a short fit takes, which mostly needs no centres.
    from sklearn.cluster import KMeans

    chosen = fixed_sample(len(actions), _CENTRE_ROWS)
    scale = ActionScale.of(actions)
    # Columns in units of their spread, so that no unit decides who is near whom.
    scaled = scale.transform(np.asarray(actions, dtype=float))
    _, spread = center_and_spread(scaled)
    found = KMeans(count, n_init=1, random_state=random_state).fit(
        scaled[chosen] / spread
    )
    centres = torch.from_numpy(found.cluster_centers_ * spread)
    # A mean lies within the hull of the logged actions; rounding may take it past.
    return np.clip(scale.inverse_tensor(centres).numpy(), low, high)


def _quantiles(actions: Floats, count: int) -> Floats:
    """Logged actions (count,) that are evenly many rows apart, sorted."""
    often: list[float] = []
    # What is logged so often that quantiles would repeat it, such as a dose of zero.
    while True:
        values, counts = np.unique(actions, return_counts=True)
        found = values[counts * (count - len(often)) > len(actions)]
        if not len(found):
            break
        often.extend(found)
        actions = actions[~np.isin(actions, found)]
    share = (np.arange(count - len(often)) + 0.5) / (count - len(often))
    rest = np.quantile(actions, share, method="closest_observation")
    return np.unique([*often, *rest])


def _checked(candidates: Floats, low: Floats, high: Floats) -> Floats:
    """Candidates as given, if they can be."""
    if candidates.ndim == 1 and len(low) == 1:
        candidates = candidates[:, None]
    if candidates.ndim != 2 or candidates.shape[1] != len(low):
        raise ValueError(
            f"candidates have shape {candidates.shape}, but actions have {len(low)} "
            "columns: give an array with a row for each candidate."
        )
    outside = ~((candidates >= low) & (candidates <= high)).all(axis=1)
    if outside.any():
        rows = np.flatnonzero(outside)
        shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        raise ValueError(
            f"candidates lie outside the bounds, low={low.tolist()} and "
            f"high={high.tolist()}, in rows {shown}: the first is "
            f"{candidates[rows[0]].tolist()}."
        )
    if len(np.unique(candidates, axis=0)) < max(2, len(candidates)):
        raise ValueError(
            "candidates must be at least two actions, each given once; got "
            f"{candidates.tolist()}."
        )
    return candidates
