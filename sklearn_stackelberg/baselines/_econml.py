"""econml's policy forests, for decisions of one step. econml is imported by `fit`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._typing import Floats, RandomStateLike
from ._base import DiscreteBaseline, Rows, seed_of


class DRPolicy(DiscreteBaseline):
    """A doubly robust policy forest, or tree, of econml.

    Parameters
    ----------
    tree : bool, default=False
        A single tree that can be read (``DRPolicyTree``), or a forest
        (``DRPolicyForest``).
    settings : dict, default=None
        Further arguments of econml's estimator.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    classes_ : ndarray of shape (n_actions,)
    policy_ : DRPolicyTree or DRPolicyForest
        As fitted.

    Examples
    --------
    >>> from sklearn_stackelberg.baselines import DRPolicy
    >>> DRPolicy(tree=True)
    DRPolicy(tree=True)
    """

    def __init__(
        self,
        *,
        tree: bool = False,
        settings: dict[str, Any] | None = None,
        random_state: RandomStateLike = None,
    ) -> None:
        self.tree = tree
        self.settings = settings
        self.random_state = random_state

    def _learn_rows(self, rows: Rows) -> None:
        try:
            from econml.policy import DRPolicyForest, DRPolicyTree
        except ImportError as error:
            raise ImportError(
                "This baseline is a policy of econml, which is not installed: pip "
                "install econml"
            ) from error
        kind = DRPolicyTree if self.tree else DRPolicyForest
        policy = kind(random_state=seed_of(self.random_state), **(self.settings or {}))
        given = {} if rows.weight is None else {"sample_weight": rows.weight}
        self.policy_ = policy.fit(rows.reward, rows.code, X=rows.state, **given)

    def _scores(self, states: Floats) -> Floats:
        # Values relative to the first action, whose own is 0.
        relative = np.asarray(self.policy_.predict_value(states))
        return np.column_stack([np.zeros(len(states)), relative])
