"""The trees of a forest, as they were fitted and as arrays."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from sklearn_stackelberg._forest import Forest

X = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
TARGET = X[:, 0] + X[:, 1] ** 2


@pytest.fixture(scope="module")
def forest():
    return Forest(RandomForestRegressor(4, random_state=0).fit(X, TARGET).estimators_)


@pytest.mark.parametrize("kind", ["classes", "means", "two means"])
def test_it_predicts_what_scikit_learn_does(kind):
    if kind == "classes":
        fitted = RandomForestClassifier(5, random_state=0).fit(X, TARGET > 1)
        expected = fitted.predict_proba(X)
    else:
        target = np.stack([TARGET, -TARGET], axis=1) if kind == "two means" else TARGET
        fitted = RandomForestRegressor(5, random_state=0).fit(X, target)
        expected = fitted.predict(X).reshape(len(X), -1)
    forest = Forest(fitted.estimators_)
    for one in (forest, pickle.loads(pickle.dumps(forest)), copy.deepcopy(forest)):
        assert_array_equal(one.predict(X).reshape(len(X), -1), expected)
        leaves = np.stack([*one.leaves(X)], axis=1)
        assert_array_equal(leaves, fitted.apply(X))
    assert forest.n_nodes == [tree.tree_.node_count for tree in fitted.estimators_]


def test_a_version_without_a_field_of_nodes_is_read(forest):
    state = forest.__getstate__()
    del state["nodes"]["missing_go_to_left"]
    state["nodes"]["of another version"] = np.zeros(3)
    other = Forest.__new__(Forest)
    other.__setstate__(state)
    assert_array_equal(other.predict(X), forest.predict(X))


@pytest.mark.parametrize(
    ("field", "value"),
    [("left_child", 10**6), ("right_child", 0), ("left_child", -2), ("feature", 3)],
)
def test_nodes_that_lead_elsewhere_are_refused(forest, field, value):
    state = forest.__getstate__()
    state["nodes"][field][0] = value
    with pytest.raises(ValueError, match="whose nodes lead out of it"):
        Forest.__new__(Forest).__setstate__(state)


@pytest.mark.parametrize(
    "change",
    [
        {"n_nodes": [1]},
        {"n_nodes": []},
        {"n_features": 0},
        {"n_classes": np.array([1, 1])},
        {"n_outputs": 0, "n_classes": np.array([], dtype=int)},
    ],
    ids=str,
)
def test_trees_that_lack_something_are_refused(forest, change):
    with pytest.raises(ValueError, match="The file holds a forest"):
        Forest.__new__(Forest).__setstate__(forest.__getstate__() | change)


def test_it_is_asked_for_its_own_columns(forest):
    with pytest.raises(ValueError, match=r"of 3 columns, .* of shape \(200, 2\)"):
        forest.predict(X[:, :2])
