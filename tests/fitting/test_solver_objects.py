"""Solvers as hyperparameters: names, objects, and one that is not ours."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from _logs import SETTINGS, dose_log, estimator, ignore_convergence, walk_log
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV

from sklearn_stackelberg import EpisodeKFold, StackelbergPolicyEstimator
from sklearn_stackelberg._fitting.players import resolve_device
from sklearn_stackelberg.solvers import (
    ClosedForm,
    SolverResult,
    SolverState,
    Stochastic,
)
from sklearn_stackelberg.solvers._base import History
from sklearn_stackelberg.solvers._best_response import BestResponse

pytestmark = ignore_convergence
LOG, DOSES = walk_log(), dose_log(n=120)
SMALL = dict(n_components=20, bandwidth="median")


def policy_of(solver, **settings):
    return StackelbergPolicyEstimator(**SETTINGS | SMALL | settings, solver=solver)


class Ascent:
    """A user's own solver: plain gradient steps along the total derivative."""

    needs = "linear"

    def __init__(self, n_steps=5):
        self.n_steps = n_steps
        self.specs = []

    def resolve(self, spec):
        self.specs.append(spec)
        return self

    def solve(self, problem, start, *, lam, beta, observe=None):
        history, theta = History(), start.policy
        for _ in range(self.n_steps + 1):
            found = BestResponse(problem, theta, lam, beta)
            history.add(value=found.value, pessimism=found.pessimism)
            if observe is not None:
                at = found
                observe(history.last(), lambda at=at: (at.theta, at.w))
            derivative = found.total_derivative()
            theta = theta + derivative / problem.logit_scale(derivative)
        return SolverResult(
            policy=found.theta,
            q_function=found.w,
            value=float(found.value),
            pessimism=float(found.pessimism),
            shrinkage=float(found.shrinkage),
            history=history,
            n_iter=self.n_steps,
            state=SolverState(found.theta, found.w),
        )


@pytest.mark.usefixtures("short_response")
@pytest.mark.parametrize(
    ("name", "solver"), [("closed_form", ClosedForm()), ("stochastic", Stochastic())]
)
def test_a_name_is_the_solver_with_its_defaults(name, solver, monkeypatch):
    used, solve = [], type(solver).solve

    def recorded(self, *args, **kwargs):
        used.append(self.get_params())
        return solve(self, *args, **kwargs)

    monkeypatch.setattr(type(solver), "solve", recorded)
    # Ended at once: the settings say what would have been done.
    few = dict(n_components=5, callback=lambda entry: True)
    of_name, of_object = (policy_of(given, **few).fit(LOG) for given in (name, solver))
    assert used[0] == used[1]
    assert of_name.policy_value_ == of_object.policy_value_
    assert_array_equal(of_name.predict_proba(LOG), of_object.predict_proba(LOG))


@pytest.mark.parametrize("log", [LOG, DOSES], ids=["discrete", "continuous"])
def test_a_solver_that_is_not_ours(log):
    solver, heard = Ascent(), []
    policy = policy_of(solver, callback=heard.append).fit(log)
    assert policy.n_iter_ == 5
    assert len(heard) == 6
    (spec,) = solver.specs
    assert spec.action_type == policy.action_type_
    assert policy.policy_value_ > policy.history_["value"][0]
    assert np.isfinite(policy.equilibrium_.leader_gradient_norm)
    assert np.isfinite(policy.score(log))
    longer = policy.set_params(warm_start=True).fit(log)
    assert longer.history_["value"][0] == pytest.approx(heard[5]["value"], rel=1e-9)
    assert not hasattr(policy, "partial_fit")


def test_a_search_reaches_the_solver():
    grid = {"solver__mirror_steps": [0, 5], "solver__tol": [1e-2]}
    search = GridSearchCV(policy_of(ClosedForm(max_iter=0)), grid, cv=EpisodeKFold(2))
    best = search.fit(LOG).best_estimator_
    assert len(set(search.cv_results_["mean_test_score"])) == 2
    assert best.n_iter_ <= best.solver.mirror_steps


def test_a_name_has_no_settings():
    policy = StackelbergPolicyEstimator()
    with pytest.raises(ValueError, match=r"solver='auto' is a name.*ClosedForm\(\)"):
        policy.set_params(solver__tol=1e-3)
    policy.set_params(solver=ClosedForm(), solver__tol=1e-3)
    assert policy.solver.tol == 1e-3


def test_fits_leave_the_solver_as_it_is():
    solver = ClosedForm()
    policy = policy_of(solver).fit(LOG)
    assert policy.solver is solver
    assert solver.max_iter is None
    assert clone(policy).solver is not solver


class Incomplete(BaseEstimator):
    needs = "linear"


@pytest.mark.parametrize("solver", [Incomplete(), ClosedForm, 3])
def test_what_is_no_solver(solver):
    with pytest.raises(ValueError, match=r"solver must be one of .*ClosedForm"):
        policy_of(solver).fit(LOG)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there():
    with pytest.raises(ValueError, match="torch finds no GPU here"):
        estimator(device="cuda").fit(LOG)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-8), ("float32", 1e-3)])
def test_a_gpu_finds_the_policy_of_the_cpu(dtype, rtol):
    settings = {"dtype": dtype, "n_components": 50, "random_state": 0}
    there = estimator(device="cuda", **settings).fit(LOG)
    here = estimator(device="cpu", **settings).fit(LOG)
    assert there.policy_value_ == pytest.approx(here.policy_value_, rel=rtol)
    assert {p.device.type for p in there.policy_.parameters()} == {"cpu"}
    again = pickle.loads(pickle.dumps(there))
    assert_array_equal(again.predict(LOG.state), there.predict(LOG.state))


def test_a_gpu_is_for_large_logs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto", 1e12) == resolve_device("cuda", 1.0) == "cuda"
    assert resolve_device("auto", 1e6) == resolve_device("cpu", 1e12) == "cpu"
