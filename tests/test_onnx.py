"""Policies as ONNX graphs decide as they do."""

from __future__ import annotations

import numpy as np
import pytest
from _logs import (
    best_dose,
    changed,
    chosen_log,
    dose_log,
    estimator,
    ignore_convergence,
    walk_log,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_stackelberg import OnStates, StackelbergPolicyCV
from sklearn_stackelberg.onnx import to_onnx

pytest.importorskip("skl2onnx", reason="graphs are built by skl2onnx")
runtime = pytest.importorskip("onnxruntime", reason="graphs are run by onnxruntime")

pytestmark = ignore_convergence
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
SEARCH = dict(cv=2, lams=(1.0,), betas=(0.1,), ridges=(0.0,), bandwidths=("median",))
POLICIES = {
    "rbf": (WALK, estimator(support=0.2)),
    "deterministic": (WALK, estimator(support=0.2, deterministic=True)),
    "trees": (chosen_log(), estimator(discount=0.0, support=0.2)),
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
    model = to_onnx(policy).SerializeToString()
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    # States of the log, and others.
    states = [np.asarray(log.state)]
    if log is not COUNTS:
        states.append(np.random.default_rng(0).normal(size=(500, states[0].shape[1])))
    states = np.concatenate(states)
    action, probabilities = session.run(["action", "probabilities"], {"states": states})
    assert_array_equal(action, policy.predict(states))
    assert_allclose(probabilities, policy.predict_proba(states), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("log", "settings", "why"),
    [
        (DOSES, dict(action_distribution="gaussian"), "is a Gaussian or a network"),
        (WALK, dict(policy="mlp", solver="stochastic"), "is a network"),
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
