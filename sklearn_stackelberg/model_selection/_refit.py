"""Which candidate a search refits."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Results = Mapping[str, Any]  # lists of dicts, masked arrays and arrays


class PessimisticRefit:
    """Choose the most pessimistic candidate that is about as good as the best.

    For the ``refit`` of `GridSearchCV` and `RandomizedSearchCV`: of the candidates
    whose mean score is within so many standard errors (of the best one's mean over the
    folds) of the best, it takes those of the smallest ``lam`` and, among them, the one
    of the best score. Of values that differ by noise alone the most pessimistic policy
    relies least on what the log does not show. Halving searches do not take such rules.

    Parameters
    ----------
    metric : str, default="score"
        Which of the scores to go by: ``"score"`` for a scorer that returns one number,
        ``"value"`` for one with ``report=True``.
    n_standard_errors : float, default=1.0
        >= 0. Larger is more pessimistic; 0 takes the best candidate.

    Raises
    ------
    ValueError
        When called, if every candidate failed; scikit-learn would take the first.

    Examples
    --------
    >>> from sklearn_stackelberg.model_selection import PessimisticRefit
    >>> results = {"param_lam": [1.0, 10.0, 100.0], "mean_test_score": [0.2, 0.48, 0.5]}
    >>> results["split0_test_score"] = [0.1, 0.44, 0.4]
    >>> results["split1_test_score"] = [0.3, 0.52, 0.6]
    >>> PessimisticRefit()(results)
    1
    """

    def __init__(
        self, metric: str = "score", *, n_standard_errors: float = 1.0
    ) -> None:
        self.metric = metric
        self.n_standard_errors = n_standard_errors

    def __call__(self, cv_results: Results) -> int:
        """Return the index of the chosen candidate.

        Parameters
        ----------
        cv_results : dict
            A search's ``cv_results_``.

        Returns
        -------
        int
        """
        mean = self._mean(cv_results)
        found = np.isfinite(mean)
        if not found.any():
            raise ValueError(
                f"None of the {len(mean)} candidates of this search could be fitted "
                "and evaluated on every fold. error_score='raise' shows the first: "
                "often folds lack an action, or policies do what is never logged."
            )
        best = int(np.argmax(np.where(found, mean, -np.inf)))
        splits = [
            scores[best]
            for name, scores in cv_results.items()
            if name.startswith("split") and name.endswith(f"_test_{self.metric}")
        ]
        # Of the mean of as many folds: their spread with ddof=1, by its square root.
        error = np.std(splits, ddof=1) / np.sqrt(len(splits)) if len(splits) > 1 else 0
        close = found & (mean >= mean[best] - self.n_standard_errors * error)
        # Larger lam trusts the log further, so the smallest is the most pessimistic.
        lam = _searched_lam(cv_results)
        if lam is not None:
            close &= lam == lam[close].min()
        return int(np.argmax(np.where(close, mean, -np.inf)))

    def __repr__(self) -> str:
        return (
            f"PessimisticRefit({self.metric!r}, "
            f"n_standard_errors={self.n_standard_errors!r})"
        )

    def _mean(self, cv_results: Results) -> NDArray[np.float64]:
        name = f"mean_test_{self.metric}"
        if name not in cv_results:
            known = [
                k.removeprefix("mean_test_")
                for k in cv_results
                if k.startswith("mean_test_")
            ]
            raise ValueError(
                f"The search has no metric {self.metric!r}; it has {known}: pass one."
            )
        return np.asarray(cv_results[name], dtype=float)


def _searched_lam(cv_results: Results) -> NDArray[np.float64] | None:
    """Each candidate's ``lam``, whatever step it belongs to; None if none is varied."""
    # A pipeline's is named by its step, as in param_policy__lam.
    for name, values in cv_results.items():
        if name == "param_lam" or (
            name.startswith("param_") and name.endswith("__lam")
        ):
            return np.array(
                [v if isinstance(v, numbers.Real) else np.inf for v in values], float
            )
    return None
