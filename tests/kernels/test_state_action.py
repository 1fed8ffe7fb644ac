"""Features of states and actions; kernels in torch against their namesakes."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from _problems import (
    KERNELS,
    autograd,
    callable_kernel,
    finite_differences,
    kernel_id,
    kernel_states,
    relative_error,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process.kernels import RBF
from sklearn.metrics.pairwise import (
    PAIRWISE_KERNEL_FUNCTIONS,
    pairwise_kernels,
    rbf_kernel,
)

from sklearn_stackelberg._fitting.state_inputs import DifferentiableFeatures
from sklearn_stackelberg.kernels import (
    CandidateGram,
    LandmarkFeatures,
    NodeGram,
    StateActionFeatures,
)
from sklearn_stackelberg.kernels._registry import KERNELS as RECORDS

FORMS = {name: record.form for name, record in RECORDS.items() if record.form}
PARAMS = {
    "rbf": {"gamma": 0.7},
    "laplacian": {"gamma": 0.7},
    "chi2": {"gamma": 0.7},
    "polynomial": {"degree": 2, "gamma": 0.3, "coef0": 0.5},
    "poly": {"degree": 2, "gamma": 0.3, "coef0": 0.5},
}


def fit(kernel, states, actions, **kwargs):
    settings = {"n_components": 8, "random_state": 0}
    if kernel == "delta":
        settings["n_components"] = None
    return StateActionFeatures(kernel, **{**settings, **kwargs}).fit(states, actions)


def pairs(kernel, seed=0, n=20, d=2, p=1):
    rng = np.random.default_rng(seed)
    return kernel_states(kernel, rng, n, d), kernel_states(kernel, rng, n, p)


# Kernels in torch.


def test_every_usable_kernel_has_a_form():
    indefinite = {"sigmoid", "additive_chi2"}
    assert set(FORMS) == set(PAIRWISE_KERNEL_FUNCTIONS) - indefinite


@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("kernel", sorted(FORMS))
def test_forms_are_their_namesakes(kernel, given, columns):
    rng = np.random.default_rng(0)
    x, y = rng.random((12, columns)), rng.random((7, columns))
    x[0] = y[0]
    x[1], y[1] = 0.0, 0.0
    params = PARAMS.get(kernel, {}) if given else {}
    found = FORMS[kernel](torch.from_numpy(x), torch.from_numpy(y), **params)
    expected = pairwise_kernels(x, y, metric=kernel, **params)
    # scikit-learn's distances of equal rows come from inner products.
    assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", sorted(FORMS))
def test_forms_have_the_derivatives_of_finite_differences(kernel):
    rng = np.random.default_rng(1)
    x = torch.from_numpy(0.2 + rng.random((3, 2, 2)))
    y = torch.from_numpy(0.2 + rng.random((5, 2)))
    weight = torch.from_numpy(rng.normal(size=5))

    def total(x):
        return (FORMS[kernel](x, y, **PARAMS.get(kernel, {})) @ weight).sum()

    assert FORMS[kernel](x, y).shape == (3, 2, 5)
    differences = finite_differences(total, x, step=1e-3)
    assert relative_error(autograd(total, x), differences) < 1e-8


@pytest.mark.parametrize("kernel", sorted(FORMS))
def test_derivatives_are_finite_where_points_meet_or_are_zero(kernel):
    y = torch.tensor([[0.0, 0.0], [0.5, 0.0]], dtype=torch.float64)
    assert torch.isfinite(autograd(lambda x: FORMS[kernel](x, y).sum(), y)).all()


# Doses over decades.


def skewed_pairs(n=60):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 2)), rng.lognormal(2.0, 1.5, size=(n, 1))


@pytest.mark.parametrize("kernel", ["rbf", "laplacian"])
def test_doses_over_decades_are_compared_by_their_logarithm(kernel):
    states, doses = skewed_pairs()
    features = fit(kernel, states, doses)
    logs = fit(kernel, states, np.log(doses))
    assert features.action_scale_.is_log.all()
    assert not logs.action_scale_.is_log.any()
    assert_allclose(features.bandwidth_, logs.bandwidth_)
    for name in ("transform", "gram", "similarity_to_itself"):
        found = getattr(features, name)(states, doses)
        assert_allclose(found, getattr(logs, name)(states, np.log(doses)))
    found, expected = features.action_gram(doses), logs.action_gram(np.log(doses))
    assert_allclose(found, expected)
    x, a = torch.from_numpy(states), torch.from_numpy(doses)
    assert_allclose(features.torch_gram(x, a), logs.torch_gram(x, a.log()))
    assert_allclose(features.torch_action_gram(a), expected)


def test_no_logarithm_where_the_user_says_how_to_compare():
    states, doses = skewed_pairs()
    for settings in (
        dict(kernel="polynomial"),
        dict(kernel=RBF(1.0)),
        dict(kernel="rbf", bandwidth=[1.0, 1.0, 5.0]),
    ):
        features = fit(states=states, actions=doses, **settings)
        assert not features.action_scale_.is_log.any()
    assert fit("rbf", states, doses, bandwidth=[1.0, 2.0]).action_scale_.is_log.all()


# Joint features.


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kernel", KERNELS, ids=kernel_id)
def test_joint_features_are_those_of_columns_side_by_side(kernel, dtype):
    states, actions = pairs(kernel)
    joint = np.concatenate([states, actions], axis=1)
    features = fit(kernel, states, actions, n_components=None, dtype=dtype)
    expected = LandmarkFeatures(kernel, n_components=None, dtype=dtype).fit(joint)
    found = features.transform(states, actions)
    assert found.dtype == dtype
    assert_array_equal(found, expected.transform(joint))
    weight = np.random.default_rng(1).normal(size=(features.n_features_out_, 2))
    projected = features.project(states, actions, features.landmark_weights(weight))
    scale = np.abs(found @ weight).max()
    atol = {"float64": 1e-6, "float32": 1e-2}[dtype]
    assert_allclose(projected, found @ weight, atol=atol * scale)


@pytest.mark.parametrize("kernel", ["rbf", "laplacian", "chi2", "delta"])
@pytest.mark.parametrize("params", [None, {"gamma": 0.7}, {"gamma": None}])
def test_product_kernels_are_products(kernel, params):
    if kernel == "delta" or (kernel == "chi2" and params == {"gamma": None}):
        params = None
    states, actions = pairs(kernel, p=2)
    features = fit(kernel, states, actions, kernel_params=params)
    assert features.is_product
    product = features.state_gram(states) * features.action_gram(actions)
    assert_allclose(product, features.gram(states, actions), atol=1e-14)


@pytest.mark.parametrize("kernel", KERNELS, ids=kernel_id)
def test_a_pickle_has_the_same_features_and_holds_no_tensor(kernel):
    states, actions = pairs(kernel)
    features = fit(kernel, states, actions)
    written = pickle.dumps(features)
    assert b"torch" not in written
    again = pickle.loads(written)
    assert_array_equal(
        again.transform(states, actions), features.transform(states, actions)
    )


def test_lengths_of_the_states_leave_the_actions_to_the_median():
    states, actions = pairs("rbf", n=50)
    median = fit("rbf", states, actions).bandwidth_
    assert median.shape == (3,)
    half = fit("rbf", states, actions, bandwidth=0.5).bandwidth_
    assert_allclose(half, 0.5 * median)
    each = fit("rbf", states, actions, bandwidth=[0.4, 0.5]).bandwidth_
    assert_allclose(each, [0.4, 0.5, median[2]])
    every = fit("rbf", states, actions, bandwidth=[0.4, 0.5, 0.6]).bandwidth_
    assert_allclose(every, [0.4, 0.5, 0.6])
    with pytest.raises(ValueError, match=r"states have 2 columns and the actions 1"):
        fit("rbf", states, actions, bandwidth=[0.1] * 4)
    with pytest.raises(ValueError, match="has no bandwidth"):
        fit("linear", states, actions, bandwidth=[1.0, 1.0])


def test_the_units_of_an_action_change_no_kernel():
    states, actions = pairs("rbf")
    found = fit("rbf", states, 1e4 * actions).gram(states, 1e4 * actions)
    expected = fit("rbf", states, actions).gram(states, actions)
    assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("kernel", ["delta", callable_kernel, RBF(1.0)], ids=kernel_id)
def test_kernels_without_a_derivative_are_refused_in_a_sentence(kernel):
    features = fit(kernel, *pairs(kernel))
    with pytest.raises(ValueError, match=r"cannot be differentiated.*'laplacian'"):
        NodeGram(features)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kernel", ["rbf", "laplacian", "moving"])
def test_an_offset_changes_nothing_in_torch(kernel, dtype, monkeypatch):
    # A function of differences that is no product, whose states are kept.
    record = replace(RECORDS["rbf"], function=rbf_kernel, is_product=False)
    monkeypatch.setitem(RECORDS, "moving", record)
    states, actions = (np.round(1024 * part) / 1024 for part in pairs("rbf"))
    far, nodes = states + 1e9, torch.from_numpy(actions[:4]).expand(len(states), -1, -1)
    features = fit(kernel, far, actions, dtype=dtype)
    gram = fit(kernel, states, actions).gram(
        states.repeat(4, axis=0), np.tile(actions[:4], (20, 1))
    )
    node, atol = NodeGram(features), {"float64": 1e-8, "float32": 1e-3}[dtype]
    eye = torch.eye(len(features.landmarks_), dtype=getattr(torch, dtype))
    found = node.values(node.read(far), nodes.to(eye), eye)
    assert found.dtype == eye.dtype
    assert_allclose(found.reshape(80, -1), gram, atol=atol)
    read = DifferentiableFeatures(features)
    x = torch.from_numpy(far - read.center).to(eye)
    z = read(x, torch.from_numpy(actions))
    assert_allclose(z, features.transform(far, actions), atol=10 * atol)


# Gram rows of actions.


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kernel", KERNELS, ids=kernel_id)
def test_candidate_rows_are_the_kernel_evaluated(kernel, dtype):
    states, actions = pairs(kernel)
    features = fit(kernel, states, actions, dtype=dtype)
    candidates = np.unique(actions, axis=0)[:3]
    gram = CandidateGram(features, candidates)
    rows = gram.read(states)
    assert rows.shape == (20, gram.width)
    assert str(rows.dtype) == f"torch.{dtype}"
    each = np.stack(
        [
            features.gram(states, np.repeat(action[None], 20, axis=0))
            for action in candidates
        ],
        axis=1,
    )  # (n, C, L)
    rng = np.random.default_rng(0)
    landmark_weights = torch.from_numpy(rng.normal(size=(each.shape[2], 2))).to(
        rows.dtype
    )
    weights = torch.from_numpy(rng.random((20, 3))).to(rows.dtype)
    tight = {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else {"atol": 1e-12}
    assert_allclose(
        gram.values(rows, landmark_weights), each @ landmark_weights.numpy(), **tight
    )
    mean = np.einsum("nc,ncl->nl", weights.numpy(), each)
    assert_allclose(gram.mean(rows, weights), mean, **tight)


@pytest.mark.parametrize("params", [False, True])
@pytest.mark.parametrize("kernel", sorted(FORMS))
def test_node_rows_are_candidate_rows_where_actions_are_the_same(kernel, params):
    states, actions = pairs(kernel, p=2)
    params = PARAMS.get(kernel) if params else None
    features = fit(kernel, states, actions, kernel_params=params)
    candidate, node = CandidateGram(features, actions[:4]), NodeGram(features)
    same = torch.from_numpy(actions[:4]).expand(len(states), -1, -1)
    rows, other = candidate.read(states), node.read(states)
    assert other.shape == (20, node.width)
    rng = np.random.default_rng(0)
    landmark_weights = torch.from_numpy(rng.normal(size=(len(features.landmarks_), 2)))
    weights = torch.from_numpy(rng.random((20, 4)))
    assert_allclose(
        node.values(other, same, landmark_weights),
        candidate.values(rows, landmark_weights),
        atol=1e-11,
    )
    assert_allclose(
        node.mean(other, same, weights), candidate.mean(rows, weights), atol=1e-11
    )


@pytest.mark.parametrize("kernel", ["rbf", callable_kernel], ids=kernel_id)
def test_rows_are_read_in_batches(kernel, monkeypatch):
    states, actions = pairs(kernel)
    gram = CandidateGram(fit(kernel, states, actions), actions[:3])
    whole = gram.read(states)
    monkeypatch.setattr("sklearn_stackelberg.kernels._nystroem._BATCH_BYTES", 1)
    assert_allclose(gram.read(states), whole, rtol=1e-14)
