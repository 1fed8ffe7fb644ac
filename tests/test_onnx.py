"""Policies as ONNX graphs decide as they do."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from _logs import (
    FIELDS,
    best_dose,
    changed,
    chosen_log,
    dose_log,
    estimator,
    ignore_convergence,
    walk_log,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from torch import nn
from torch.torch_version import TorchVersion

from sklearn_stackelberg import OnStates, StackelbergPolicyCV, Transitions
from sklearn_stackelberg.networks import MLP
from sklearn_stackelberg.onnx import _export, to_onnx

pytest.importorskip("skl2onnx", reason="graphs are built by skl2onnx")
runtime = pytest.importorskip("onnxruntime", reason="graphs are run by onnxruntime")

pytestmark = ignore_convergence
exports_modules = find_spec("onnxscript") and torch.__version__ >= TorchVersion("2.6")
WALK, DOSES = walk_log(300), dose_log(200)
FINITE = changed(WALK, state=np.round(WALK.state), next_state=np.round(WALK.next_state))
COUNTS = changed(WALK, state=WALK.state**2, next_state=WALK.next_state**2)
NAMES = changed(
    WALK,
    action=np.array(["a", "b", "c"])[np.unique(WALK.action, return_inverse=True)[1]],
)
# Most doses are near the best, a third is anything.
NEAR = changed(
    DOSES,
    action=np.where(
        np.arange(200) % 3 == 0, DOSES.action, best_dose(DOSES.state)[:, 0] + 0.01
    ),
)
# Each of six actions only where its column is large: beyond it none is ever taken.
_BARRED = np.random.default_rng(1).uniform(size=(600, 6))
BARRED = Transitions(
    _BARRED,
    np.where(_BARRED > 0.5, np.random.default_rng(2).random((600, 6)), -1.0).argmax(1),
    _BARRED.sum(axis=1),
    _BARRED,
    np.ones(600),
)
SEARCH = dict(cv=2, lams=(1.0,), betas=(0.1,), ridges=(0.0,), bandwidths=("median",))


def run(model, **inputs):
    """The outputs of a graph, by onnxruntime."""
    providers = ["CPUExecutionProvider"]
    session = runtime.InferenceSession(model.SerializeToString(), providers=providers)
    return session.run(None, inputs)


POLICIES = {
    "rbf": (WALK, estimator(support=0.2)),
    "deterministic": (WALK, estimator(support=0.2, deterministic=True)),
    "trees": (chosen_log(), estimator(discount=0.0, support=0.2)),
    "never taken": (BARRED, estimator(discount=0.0, support=0.01)),
    # Of so few rows no columns are paired.
    "never taken, few rows": (
        BARRED[np.arange(300)],
        estimator(discount=0.0, support=0.01),
    ),
    "no support": (WALK, estimator(support=0.0)),
    "linear terms": (NAMES, estimator(linear_terms=True)),
    "laplacian": (WALK, estimator(kernel="laplacian")),
    "chi2": (COUNTS, estimator(kernel="chi2")),
    "linear": (WALK, estimator(kernel="linear", bandwidth="median")),
    "polynomial": (WALK, estimator(kernel="polynomial", bandwidth="median")),
    "delta": (
        FINITE,
        estimator(kernel="delta", bandwidth="median", n_components=None, support=0.2),
    ),
    "columns": (WALK, estimator(q_function="linear", policy="linear")),
    "candidates": (DOSES, estimator(support=0.2)),
    "candidates between": (NEAR, estimator(support=0.2)),
    "two columns": (dose_log(200, p=2), estimator(kernel="laplacian")),
    "pipeline": (
        WALK,
        make_pipeline(OnStates(StandardScaler()), OnStates(PCA(1)), estimator()),
    ),
    "search": (WALK, StackelbergPolicyCV(estimator(), **SEARCH)),
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_graph_decides_as_the_policy_does(name):
    log, policy = POLICIES[name]
    policy.fit(log)
    states = [np.asarray(log.state)]
    if log is not COUNTS:
        states.append(np.random.default_rng(0).normal(size=(1000, states[0].shape[1])))
    states = np.concatenate(states)
    action, probabilities = run(to_onnx(policy), states=states)
    assert_array_equal(action, policy.predict(states))
    assert_allclose(probabilities, policy.predict_proba(states), rtol=0, atol=1e-9)


class Recurrent(nn.Module):
    """A user's module, of layers that onnxruntime has in single precision alone."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.first = nn.Linear(n_inputs, 6)
        self.steps = nn.GRU(1, 4, batch_first=True)
        self.value, self.last = nn.Linear(10, 1), nn.Linear(10, n_outputs)

    def forward(self, x):
        seen = self.steps(x[:, :, None])[0][:, -1]
        found = torch.cat([nn.functional.gelu(self.first(x)), seen], dim=1)
        last = self.last(found)
        return self.value(found) + 3 * (last - last.mean(dim=1, keepdim=True))


class Branching(nn.Linear):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


def network(policy="mlp", **settings):
    settings = dict(max_iter=2, mirror_steps=1, ridge=0.0, support=0.2) | settings
    return estimator(policy=policy, solver="stochastic", **settings)


def scaled(policy):
    return make_pipeline(OnStates(StandardScaler()), policy)


needs_onnxscript = pytest.mark.skipif(
    not exports_modules, reason="torch.onnx exports by onnxscript, from torch 2.6 on"
)
GAUSSIAN = dict(action_distribution="gaussian", max_iter=2, support=0.2)
DECADES = changed(DOSES, action=np.exp(3 * DOSES.action))
NETWORKS = {
    "labels": (NAMES, scaled(network(MLP((8,), "gelu"), deterministic=True))),
    "a user's module": (WALK, scaled(network(Recurrent, support=0.0))),
    "candidates in single precision": (DOSES, scaled(network(dtype="float32"))),
    "amounts": (dose_log(200, p=2), scaled(network(**GAUSSIAN))),
    "amounts in closed form, over decades": (DECADES, scaled(estimator(**GAUSSIAN))),
}


@needs_onnxscript
@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_graph_decides_as_a_network_does(name):
    log, policy = NETWORKS[name]
    policy.fit(log)
    states = np.random.default_rng(0).normal(size=(1000, 2))
    action, *probabilities = run(to_onnx(policy, log), states=states)
    if action.dtype.kind != "f":
        assert_array_equal(action, policy.predict(states))
    else:
        assert_allclose(action, policy.predict(states), rtol=1e-5, atol=1e-5)
    if probabilities:
        expected = policy.predict_proba(states)
        assert_allclose(probabilities[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("support", [0.0, 0.2])
@pytest.mark.parametrize("log", [WALK, FINITE], ids=["states", "finite states"])
def test_masks_are_an_input(log, support):
    rng = np.random.default_rng(0)
    n = len(log.action)
    mask = rng.random((2000, 3)) < 0.5
    mask[np.arange(2000), rng.integers(3, size=2000)] = True
    own = mask[:n] | (log.action[:, None] == np.arange(3))
    fields = {name: getattr(log, name) for name in FIELDS}
    masked = Transitions(**fields, available=own, next_available=mask[n : 2 * n])
    policy = scaled(estimator(support=support)).fit(masked)
    states = np.concatenate([log.state, rng.normal(size=(2000 - n, 2))])
    model = to_onnx(policy, states)
    action, probabilities = run(model, states=states, available=mask)
    last, given = policy[-1], policy[:-1].transform(states)
    assert_array_equal(action, last.predict(given, mask))
    expected = last.predict_proba(given, mask)
    assert_allclose(probabilities, expected, rtol=0, atol=1e-9)


@pytest.fixture
def table():
    """States with text and missing values, and decisions."""
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "pulse": np.where(rng.random(1000) < 0.1, np.nan, rng.normal(80, 15, 1000)),
            "ward": rng.choice(["east", "west", "north"], 1000),
            "visits": rng.integers(4, size=1000),
        }
    )
    y = pd.DataFrame({"action": rng.choice(["A", "B"], 1000), "episode": range(1000)})
    better = np.where(X["pulse"] > 90, y["action"] == "B", y["action"] == "A")
    y["reward"] = better + (X["ward"] == "east") + rng.normal(0, 0.3, 1000)
    return X, y.assign(step=0, terminated=True)


@pytest.mark.parametrize("by", ["kernel", pytest.param("mlp", marks=needs_onnxscript)])
def test_columns_of_a_table_are_inputs(table, by):
    X, y = table
    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["pulse", "visits"]),
        (OneHotEncoder(sparse_output=False), ["ward"]),
    )
    last = network(discount=0.0) if by == "mlp" else estimator(discount=0.0)
    policy = make_pipeline(prepare, last).fit(X[:150], y[:150])
    with pytest.raises(ValueError, match="give X=, some states as a DataFrame"):
        to_onnx(policy)
    inputs = {name: X[[name]].to_numpy() for name in X}  # of which some are missing
    inputs["visits"] = inputs["visits"].astype(float)
    action, probabilities = run(to_onnx(policy, X), **inputs)
    assert_array_equal(action, policy.predict(X))
    assert_allclose(probabilities, policy.predict_proba(X), rtol=0, atol=1e-9)


def test_a_table_of_numbers_is_one_input(table):
    X, y = table
    numbers = X[["pulse", "visits"]].fillna(80.0)
    policy = make_pipeline(StandardScaler(), estimator(discount=0.0)).fit(numbers, y)
    (_, found) = run(to_onnx(policy, numbers), states=numbers.to_numpy())
    assert_allclose(found, policy.predict_proba(numbers), rtol=0, atol=1e-9)


def test_a_graph_that_decides_otherwise_is_refused(monkeypatch):
    policy = estimator().fit(WALK)
    monkeypatch.setitem(_export._NEAR, "float64", -1.0)
    with pytest.raises(ValueError, match="differs from the policy by up to"):
        to_onnx(policy, WALK)
    signs = OnStates(SimpleImputer(missing_values=0.0))
    policy = make_pipeline(signs, estimator()).fit(WALK)
    # Of other missing values skl2onnx takes an operator in single precision.
    with pytest.raises(ValueError, match="onnxruntime cannot run the graph"):
        to_onnx(policy, WALK)


@pytest.mark.parametrize(
    ("log", "settings", "why"),
    [
        (WALK, dict(kernel="cosine", bandwidth="median"), "has the kernel 'cosine'"),
        (
            DOSES,
            dict(kernel="linear", bandwidth="median"),
            "is no product of states' and actions'",
        ),
    ],
)
def test_what_has_no_graph_is_refused(log, settings, why):
    policy = estimator(**settings, max_iter=1).fit(log)
    with pytest.raises(ValueError, match=why):
        to_onnx(policy)


def test_other_steps_and_estimators_are_refused():
    doubled = OnStates(FunctionTransformer(lambda states: 2 * states))
    policy = make_pipeline(doubled, estimator()).fit(WALK)
    with pytest.raises(ValueError, match="skl2onnx cannot convert the pipeline"):
        to_onnx(policy)
    with pytest.raises(
        ValueError, match="takes a policy, or what ends in one, got Sta"
    ):
        to_onnx(StandardScaler().fit(WALK.state))
    with pytest.raises(ValueError, match=r"shape \(5, 9\); expected is \(n, "):
        to_onnx(estimator().fit(WALK), np.ones((5, 9)))


@needs_onnxscript
def test_a_module_that_is_no_graph_is_refused():
    policy = network(Branching).fit(WALK)
    with pytest.raises(ValueError, match="cannot export Branching: Could not guard"):
        to_onnx(policy)


def test_without_onnxscript_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(_export, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install onnxscript"):
        to_onnx(network().fit(WALK))
