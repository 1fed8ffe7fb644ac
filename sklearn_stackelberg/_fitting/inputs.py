"""States as the columns that a linear function or a network reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from ..kernels import LandmarkFeatures

Floats = NDArray[np.floating]


class StateColumns:
    """The columns of the states, for a network.

    Parameters
    ----------
    dtype : str
    standardise : bool
        Whether each column is to have mean 0 and standard deviation 1 in the log.
    """

    def __init__(self, dtype: str, standardise: bool) -> None:
        self.dtype, self.standardise = dtype, standardise

    def fit(self, states: Floats) -> StateColumns:
        """Learn means and standard deviations.

        Parameters
        ----------
        states : array of shape (n, d)

        Returns
        -------
        StateColumns
            Itself.
        """
        self.n_features_out_ = states.shape[1]
        self.center_ = np.zeros(states.shape[1])
        self.scale_ = np.ones(states.shape[1])
        if self.standardise:
            self.center_ = states.mean(axis=0, dtype=np.float64)
            spread = states.std(axis=0, dtype=np.float64)
            self.scale_ = np.where(spread > 0, spread, 1.0)
        return self

    def transform(self, states: Floats) -> Floats:
        """The columns, (n, n_features_out_)."""
        if not self.standardise:
            return states.astype(self.dtype, copy=False)
        return ((states - self.center_) / self.scale_).astype(self.dtype)


class LinearColumns(StateColumns):
    """Standardised columns and a one: features of functions linear in the states.

    Parameters
    ----------
    dtype : str

    Examples
    --------
    >>> columns = LinearColumns("float64").fit(np.array([[1.0], [3.0]]))
    >>> columns.transform(np.array([[1.0], [2.0]]))
    array([[ 1., -1.],
           [ 1.,  0.]])
    """

    bandwidth_ = None

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype, standardise=True)

    def fit(self, states: Floats) -> LinearColumns:
        """Learn means and standard deviations.

        Parameters
        ----------
        states : array of shape (n, d)

        Returns
        -------
        LinearColumns
            Itself.
        """
        super().fit(states)
        self.n_features_out_ += 1
        return self

    def transform(self, states: Floats) -> Floats:
        """The columns behind a one, (n, d + 1)."""
        one = np.ones((len(states), 1), dtype=self.dtype)
        return np.hstack([one, super().transform(states)])

    def fold(self, weight: Floats) -> Floats:
        """Weights on the columns themselves; see `LandmarkFeatures.fold`."""
        return weight

    def project(self, states: Floats, folded: Floats) -> Floats:
        """The columns times weights, (n, c)."""
        return self.transform(states) @ folded.astype(self.dtype, copy=False)


def state_features(
    function_class: str, params: dict[str, Any], states: Floats, n_amounts: int = 0
) -> LandmarkFeatures | LinearColumns:
    """Features of states that a kernel or a linear player is linear in.

    Parameters
    ----------
    function_class : {"kernel", "linear"}
    params : dict
        The estimator's hyperparameters.
    states : array of shape (n, d)
    n_amounts : int, default=0
        Columns of the amounts, which a bandwidth may have lengths for too.

    Returns
    -------
    LandmarkFeatures or LinearColumns
    """
    if function_class == "linear":
        return LinearColumns(params["dtype"]).fit(states)
    settings = kernel_settings(params)
    if n_amounts and np.shape(settings["bandwidth"]) == (states.shape[1] + n_amounts,):
        settings["bandwidth"] = np.asarray(settings["bandwidth"])[: states.shape[1]]
    return LandmarkFeatures(
        params["kernel"],
        random_state=check_random_state(params["random_state"]),
        **settings,
    ).fit(states)


def kernel_settings(params: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a kernel's features."""
    names = ("bandwidth", "kernel_params", "n_components", "dtype")
    return {name: params[name] for name in names}
