"""A policy as what scikit-learn's own inspection takes."""

from __future__ import annotations

from sklearn.frozen import FrozenEstimator
from sklearn.utils import ClassifierTags, RegressorTags, Tags


class FrozenPolicy(FrozenEstimator):
    """A fitted policy as a classifier, or of continuous actions as a regressor.

    Policies are neither, because scikit-learn would score them by accuracy and split
    their rows by class. Its `inspection` takes nothing else: partial dependence then is
    how often an action is chosen, and permutation importance how many decisions change.

    Parameters
    ----------
    estimator : policy
        A pipeline or a search that ends in one, too. It stays as it is.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.inspection import partial_dependence
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> from sklearn_stackelberg.inspection import FrozenPolicy
    >>> x, drug = np.tile([[0.0], [1.0]], (100, 1)), np.repeat(["A", "B"], 100)
    >>> log = Transitions(x, drug, (x[:, 0] == (drug == "B")) * 1.0, x, np.ones(200))
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
    >>> partial_dependence(FrozenPolicy(policy), x, [0], kind="average")["average"]
    array([[0., 1.]])
    """

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if hasattr(self.estimator, "classes_"):
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        else:
            tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        return tags
