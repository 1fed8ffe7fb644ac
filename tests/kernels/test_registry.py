"""A kernel is added by one record, and then everything takes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _logs import dose_log, estimator, ignore_convergence, walk_log
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from sklearn.gaussian_process.kernels import Matern
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS

from sklearn_stackelberg.kernels import (
    LandmarkFeatures,
    StateActionFeatures,
    check_kernel,
    median_bandwidth,
)
from sklearn_stackelberg.kernels._registry import KERNELS, NamedKernel

pytestmark = ignore_convergence


def matern(X, Y):
    """Matérn, ν = 3/2, of points in units of the length scale."""
    r = np.sqrt(3.0) * cdist(X, Y)
    return (1.0 + r) * np.exp(-r)


def matern_form(x, y):
    square = ((x[..., None, :] - y) ** 2).sum(dim=-1)
    # The root has no derivative where points meet.
    r = torch.sqrt(3.0 * square.clamp(min=1e-24))
    return (1.0 + r) * torch.exp(-r)


def quadratic(X, Y, alpha=1.0, gamma=1.0):
    """Rational quadratic, with a gamma and a parameter of its own."""
    return (1.0 + gamma * cdist(X, Y, "sqeuclidean") / alpha) ** -alpha


@pytest.fixture
def added(monkeypatch):
    record = NamedKernel(matern_form, metric="euclidean", function=matern)
    monkeypatch.setitem(KERNELS, "matern32", record)
    record = NamedKernel(metric="euclidean", gamma=0.5, function=quadratic)
    monkeypatch.setitem(KERNELS, "quadratic", record)
    monkeypatch.setitem(KERNELS, "bad", NamedKernel(refused="it is bad"))


def test_scikit_learns_kernels_have_records():
    assert set(KERNELS) == {*PAIRWISE_KERNEL_FUNCTIONS, "delta"}


def test_an_added_kernel_has_bandwidths_and_parameters(added):
    states = np.random.default_rng(0).normal(size=(30, 2))
    median = median_bandwidth(states, "euclidean", np.random.RandomState(0))
    for bandwidth, scale in (("median", median), ([0.5, 0.5], [0.5, 0.5])):
        settings = dict(bandwidth=bandwidth, n_components=None, random_state=0)
        found = LandmarkFeatures("matern32", **settings).fit(states)
        assert_array_equal(found.bandwidth_, scale)
        z = found.transform(states)
        assert_allclose(z @ z.T, Matern(scale, nu=1.5)(states), atol=1e-8)
        features = LandmarkFeatures(
            "quadratic", kernel_params={"alpha": 2.0}, **settings
        ).fit(states)
        gram = features.transform(states) @ features.transform(states).T
        z = states / scale
        assert_allclose(gram, quadratic(z, z, alpha=2.0, gamma=0.5), atol=1e-8)
    one = LandmarkFeatures("quadratic", kernel_params={"gamma": 0.3}).fit(states)
    assert one.bandwidth_ is None


def test_messages_list_an_added_kernel(added):
    states = np.random.default_rng(0).normal(size=(30, 2))
    check_kernel("matern32")
    with pytest.raises(ValueError, match=r"'gaussian' is unknown.*'matern32'") as found:
        check_kernel("gaussian")
    assert "'bad'" not in str(found.value)
    with pytest.raises(ValueError, match="'bad' cannot be used: it is bad"):
        check_kernel("bad")
    with pytest.raises(ValueError, match=r"a bandwidth is for .*'matern32', 'quadrat"):
        LandmarkFeatures("linear", bandwidth=[1.0, 1.0]).fit(states)
    pairs = StateActionFeatures("quadratic").fit(states, states)
    with pytest.raises(ValueError, match=r"Use one of .*'matern32', 'poly'"):
        pairs.check_differentiable()
    assert not pairs.is_product


@pytest.mark.parametrize("bandwidth", ["median", 1.0])
def test_the_estimator_takes_an_added_kernel_for_discrete_actions(added, bandwidth):
    log = walk_log()
    settings = dict(mirror_steps=5, max_iter=0, n_components=20)
    by_name = estimator(kernel="matern32", bandwidth=bandwidth, **settings).fit(log)
    assert by_name.bandwidth_.shape == (by_name.n_features_in_,)
    same = Matern(by_name.bandwidth_, nu=1.5)
    by_call = estimator(kernel=same, bandwidth="median", **settings).fit(log)
    states = log.state[:20]
    assert_allclose(
        by_name.predict_proba(states), by_call.predict_proba(states), atol=1e-5
    )


@pytest.mark.parametrize(
    ("distribution", "solver"),
    [
        ("candidates", "closed_form"),
        ("gaussian", "closed_form"),
        ("gaussian", "stochastic"),
    ],
)
def test_the_estimator_takes_an_added_kernel_for_continuous_actions(
    added, distribution, solver
):
    log = dose_log(n=150)
    policy = estimator(
        kernel="matern32",
        bandwidth="median",
        action_distribution=distribution,
        solver=solver,
        n_components=20,
        mirror_steps=2,
        max_iter=2,
        discount=0.5,
        ridge=0.0,
    ).fit(log)
    assert policy.features_.kernel == "matern32"
    low, high = policy.action_bounds_
    doses = policy.predict(log.state[:10])
    assert ((doses >= low) & (doses <= high)).all()
    assert np.ptp(doses) > 0


@pytest.mark.parametrize("gamma", [0.5, None])
def test_the_rbf_kernel_is_scikit_learns_in_single_precision_too(gamma):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(n, 3)).astype(np.float32) for n in (50, 20))
    expected = PAIRWISE_KERNEL_FUNCTIONS["rbf"](*map(np.float64, (x, y)), gamma=gamma)
    found = KERNELS["rbf"].function(x, y, gamma=gamma)
    assert found.dtype == np.float32
    # An exponent of 10 is known to 1e-6.
    assert_allclose(found, expected, rtol=1e-5)
    found = KERNELS["rbf"].function(*map(np.float64, (x, y)), gamma=gamma)
    assert_array_equal(found, expected)
