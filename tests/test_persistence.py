"""Policies in files: the same to the last bit, and nothing from strangers that runs."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import pkgutil
import sys
import zipfile

import numpy as np
import pytest
import torch
from _logs import chosen_log, dose_log, estimator, ignore_convergence, walk_log
from numpy.testing import assert_array_equal
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process.kernels import RBF, DotProduct
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_stackelberg import (
    EpisodeKFold,
    HistoryStates,
    OnStates,
    StackelbergPolicyCV,
    Transitions,
)
from sklearn_stackelberg._fitting import calibration
from sklearn_stackelberg._forest import Forest
from sklearn_stackelberg.networks import MLP
from sklearn_stackelberg.persistence import TRUSTED_TYPES, load, save

skops = pytest.importorskip("skops.io", reason="files of policies are by skops")

pytestmark = [
    ignore_convergence,
    pytest.mark.filterwarnings("ignore:At .* the history starts anew:UserWarning"),
]
WALK, DOSES = walk_log(120), dose_log(120)


def finite(log):
    states = (np.round(states).astype(float) for states in (log.state, log.next_state))
    state, next_state = states
    names = ("terminated", "is_initial", "episode", "step")
    kept = {name: getattr(log, name) for name in names}
    return Transitions(state, log.action, log.reward, next_state, **kept)


def own_kernel(X, Y):
    return X @ Y.T + 1.0


def own_network(n_inputs, n_outputs):
    return torch.nn.Sequential(torch.nn.Linear(n_inputs, n_outputs))


def network(**settings):
    kinds = dict(q_function=MLP((4,), "tanh"), policy="mlp", solver="stochastic")
    return estimator(**kinds | settings, ridge=0.0, max_iter=2)


SEARCH = dict(cv=2, lams=(1.0,), betas=(0.1,), ridges=(0.0,), bandwidths=("median",))
POLICIES = {
    "rbf": lambda: estimator(support=0.2).fit(WALK),
    "trees": lambda: estimator(discount=0.0, support=0.2).fit(chosen_log()),
    "finite": lambda: estimator(kernel="delta", bandwidth="median").fit(finite(WALK)),
    "frame": lambda: estimator(linear_terms=True).fit(walk_log(120, frame=True)),
    "single": lambda: estimator(dtype="float32").fit(WALK),
    "gaussian process": lambda: estimator(
        kernel=RBF(2.0) + DotProduct(), bandwidth="median"
    ).fit(WALK),
    "calibrated": lambda: estimator(lam="calibrated", discount=0.5).fit(WALK),
    "candidates": lambda: estimator(support=0.2).fit(DOSES),
    "gaussian": lambda: estimator(action_distribution="gaussian").fit(DOSES),
    "networks": lambda: network().fit(WALK),
    "network of doses": lambda: network().fit(DOSES),
    "mean network": lambda: network(action_distribution="gaussian").fit(DOSES),
    "samples": lambda: estimator(solver="stochastic", max_iter=2).fit(DOSES),
    "pipeline": lambda: make_pipeline(
        OnStates(SimpleImputer()), OnStates(StandardScaler()), estimator()
    ).fit(WALK),
    "history": lambda: make_pipeline(HistoryStates(2), estimator()).fit(WALK),
    "tuned": lambda: StackelbergPolicyCV(estimator(), **SEARCH).fit(WALK),
    "search": lambda: GridSearchCV(
        estimator(), {"lam": [1.0, 10.0]}, cv=EpisodeKFold(2)
    ).fit(WALK),
}


@pytest.fixture(scope="module")
def policy():
    return POLICIES["rbf"]()


@pytest.fixture
def file(policy, tmp_path):
    save(policy, tmp_path / "policy.skops")
    return tmp_path / "policy.skops"


def rewritten(file, change, entry="schema.json"):
    """The file with another text in one of its entries."""
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries[entry] = change(entries[entry].decode()).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_the_same_to_the_last_bit(name, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "LAMS", (1.0, 10.0))
    policy = POLICIES[name]()
    save(policy, tmp_path / "policy.skops")
    opened = load(str(tmp_path / "policy.skops"))
    log = DOSES if "dose" in name or name in ("candidates", "samples") else WALK
    log = DOSES if name in ("gaussian", "mean network") else log
    given = finite(log) if name == "finite" else log
    given = walk_log(120, frame=True) if name == "frame" else given
    assert_array_equal(opened.predict(given), policy.predict(given))
    if name not in ("gaussian", "mean network"):
        assert_array_equal(opened.predict_proba(given), policy.predict_proba(given))
    if hasattr(policy, "q_values"):
        q, std = (
            one.q_values(given, given.action, return_std=True)
            for one in (policy, opened)
        )
        assert_array_equal(q, std)
    assert opened.score(given) == policy.score(given)
    with zipfile.ZipFile(tmp_path / "policy.skops") as archive:
        text = archive.read("schema.json").decode()
    assert '"torch' not in text
    assert "Tree" not in text
    # As pickled: arrays there, too, that need no torch to be read.
    again = pickle.loads(pickle.dumps(policy))
    assert_array_equal(again.predict(given), policy.predict(given))


def test_a_fit_goes_on_from_a_file(tmp_path):
    policy = network(warm_start=True, random_state=0).fit(WALK)
    save(policy, tmp_path / "policy.skops")
    opened = load(tmp_path / "policy.skops")
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    load(tmp_path / "policy.skops")
    assert torch.rand(1) == expected
    assert_array_equal(opened.fit(WALK).q_values(WALK), policy.fit(WALK).q_values(WALK))


def test_skops_alone_opens_a_file(file, policy):
    opened = skops.load(file, trusted=TRUSTED_TYPES)
    assert_array_equal(opened.predict(WALK), policy.predict(WALK))
    plain = io.BytesIO()
    skops.dump(policy, plain)
    file.write_bytes(plain.getvalue())
    assert_array_equal(load(file).predict(WALK), policy.predict(WALK))


def test_trusted_types_exist():
    assert all(callable(pkgutil.resolve_name(name)) for name in TRUSTED_TYPES)


def test_what_would_run_is_refused_and_named(tmp_path):
    target, path = tmp_path / "made", tmp_path / "policy.skops"
    policy = POLICIES["rbf"]()
    policy.callback = functools.partial(os.mkdir, str(target))
    save(policy, path)
    with pytest.raises(TypeError, match=rf"functools\.partial, {os.name}\.mkdir\. "):
        load(path)
    assert not target.exists()


def test_a_type_that_was_put_in_by_hand_is_refused(file):
    def forge(text):
        schema = json.loads(text)
        schema["content"]["content"]["callback"] = {
            "__class__": "system",
            "__module__": "os",
            "__loader__": "FunctionNode",
            "__id__": 1,
        }
        return json.dumps(schema)

    with pytest.raises(TypeError, match=r"TRUSTED_TYPES: os\.system\. Whoever"):
        load(rewritten(file, forge))


def test_trees_of_scikit_learn_are_refused(tmp_path):
    forest = RandomForestClassifier(2).fit([[0.0], [1.0]], [0, 1])
    save(forest, tmp_path / "forest.skops")
    with pytest.raises(TypeError, match=r"sklearn\.tree\._tree\.Tree"):
        load(tmp_path / "forest.skops")


def test_forged_trees_are_refused(tmp_path, monkeypatch):
    real = Forest.__getstate__

    def forged(self):
        state = real(self)
        state["nodes"]["left_child"][0] = 10**6
        return state

    policy = estimator(support=0.2).fit(WALK)
    monkeypatch.setattr(Forest, "__getstate__", forged)
    save(policy, tmp_path / "policy.skops")
    with pytest.raises(ValueError, match="whose nodes lead out of it"):
        load(tmp_path / "policy.skops")


def test_what_is_no_file_of_a_policy_is_refused(file, policy):
    whole = file.read_bytes()
    for data in (whole[: len(whole) // 2], b"", pickle.dumps(policy)):
        file.write_bytes(data)
        with pytest.raises(ValueError, match="or is cut off"):
            load(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(ValueError, match="is a zip archive, and not of"):
        load(file)
    file.write_bytes(skops.dumps({"a": np.ones(2)}))
    with pytest.raises(ValueError, match="holds a dict, and no policy"):
        load(file)
    with pytest.raises(FileNotFoundError):
        load(file.with_name("missing.skops"))


def test_a_damaged_file_is_refused(file):
    damaged = rewritten(file, lambda text: text.replace('"__class__"', '"class"'))
    with pytest.raises(ValueError, match=r"cannot be opened \(KeyError: .*show_versi"):
        load(damaged)


def test_files_of_other_versions(file, policy):
    about = "sklearn_stackelberg.json"
    later = json.dumps({"format": 2, "version": "9.0"})
    with pytest.raises(ValueError, match=r"by sklearn_stackelberg 9\.0, in format 2;"):
        load(rewritten(file, lambda text: later, about))
    other = json.dumps({"format": 1, "version": "9.0"})
    with pytest.warns(UserWarning, match=r"9\.0, and .* opens it, .* may differ"):
        opened = load(rewritten(file, lambda text: other, about))
    assert_array_equal(opened.predict(WALK), policy.predict(WALK))


def test_a_kernel_of_ones_own_is_named(tmp_path):
    path = tmp_path / "policy.skops"
    policy = estimator(kernel=own_kernel, bandwidth="median").fit(WALK)
    save(policy, path)
    name = f"{__name__}.own_kernel"
    with pytest.raises(TypeError, match=rf"load\(path, trusted=\['{name}'\]\)"):
        load(path)
    opened = load(path, trusted=[name])
    assert_array_equal(opened.predict(WALK), policy.predict(WALK))


def test_what_a_file_cannot_hold_is_refused(tmp_path):
    path = tmp_path / "policy.skops"
    with pytest.raises(NotFittedError):
        save(estimator(), path)
    policy = estimator(kernel=lambda X, Y: X @ Y.T, bandwidth="median").fit(WALK)
    with pytest.raises(TypeError, match="or set to None before"):
        save(policy, path)
    policy = network(q_function=own_network).fit(WALK)
    with pytest.raises(TypeError, match=r"Networks must be made by 'mlp' or MLP"):
        save(policy, path)
    assert not path.exists()


def test_skops_is_asked_for(file, policy, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops", None)
    for call in (lambda: load(file), lambda: save(policy, file)):
        with pytest.raises(ImportError, match=r"needs skops, .* pip install skops"):
            call()
