"""What solvers and fitted estimators need of a policy, of every policy class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _logs import best_dose, dose_log, estimator, ignore_convergence
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.testing import assert_close

from sklearn_stackelberg._fitting import hyperparameters
from sklearn_stackelberg.policies import (
    CandidateSoftmax,
    NetworkSoftmax,
    Nodes,
    SoftmaxPolicy,
    SquashedGaussian,
)
from sklearn_stackelberg.policies._base import CONTINUOUS_POLICIES, ContinuousPolicy
from sklearn_stackelberg.policies._quadrature import as_head

LOW, HIGH = np.array([-1.0, 0.1]), np.array([2.0, 0.7])


def normal(seed, *shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def from_log(name, dtype=torch.float64, scale=1.0):
    """A policy of the log's actions, with a random linear head of 3 features."""
    actions = np.random.default_rng(0).uniform(LOW, HIGH, size=(200, 2))
    settings = dict(candidates=5, random_state=0)
    policy = CONTINUOUS_POLICIES[name].from_log(actions, LOW, HIGH, **settings)
    return policy.with_head(scale * normal(1, 3, policy.n_outputs, dtype=dtype))


POLICIES = {
    "linear": lambda: SoftmaxPolicy(normal(1, 3, 4)),
    "network": lambda: NetworkSoftmax(nn.Linear(3, 4).double()),
    "candidates": lambda: from_log("candidates"),
    "gaussian": lambda: from_log("gaussian"),
}
every_policy = pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)
every_continuous = pytest.mark.parametrize("name", ["candidates", "gaussian"])


def weights_of(choice):
    return choice.weights if isinstance(choice, Nodes) else choice


@every_policy
def test_a_policy_is_the_choice_of_its_outputs(make):
    policy, x = make(), normal(0, 6, 3)
    for found, expected in zip(
        policy(x), policy.choice(policy.outputs(x)), strict=True
    ):
        assert_close(found, expected, rtol=0, atol=0)


@every_policy
def test_a_mirror_step_to_the_policy_itself_has_no_derivative(make):
    policy, x = make(), normal(0, 6, 3)
    outputs = policy.outputs(x).detach().requires_grad_()
    target = policy.mirror_target(outputs, weights_of(policy.choice(outputs))).detach()
    loss = policy.mirror_loss(outputs, target)
    assert loss.shape == ()
    (found,) = torch.autograd.grad(loss, outputs)
    # 16 nodes have the mean of a Gaussian, and its spread within a few per cent.
    assert float(found.abs().max()) < (0.01 if target.shape[1] == 4 else 1e-12)


@every_policy
def test_a_mirror_step_moves_towards_its_target(make):
    policy, x = make(), normal(0, 6, 3)
    outputs = policy.outputs(x).detach().requires_grad_()
    weights = weights_of(policy.choice(outputs)).detach()
    tilted = torch.softmax(weights.log() + normal(2, *weights.shape), dim=1)
    target = policy.mirror_target(outputs, tilted).detach()
    before = policy.mirror_loss(outputs, target)
    (gradient,) = torch.autograd.grad(before, outputs)
    after = policy.mirror_loss(outputs - 0.1 * gradient, target)
    assert float(after.detach()) < float(before.detach())


def test_continuous_policies_are_known_by_their_names():
    expected = {"candidates": CandidateSoftmax, "gaussian": SquashedGaussian}
    # Classes that other tests define are known too.
    assert expected.items() <= CONTINUOUS_POLICIES.items()
    assert not CandidateSoftmax.has_moving_actions
    assert SquashedGaussian.has_moving_actions


@every_continuous
def test_predictions_are_in_float64_and_in_the_bounds_as_given(name):
    policy = from_log(name, torch.float32, scale=100.0)
    outputs = policy.outputs(normal(0, 50, 3, dtype=torch.float32))
    nodes = policy.predicted_nodes(outputs)
    drawn = policy.draw(outputs, np.random.RandomState(0))
    for actions in (nodes.actions, policy.mode(outputs), drawn):
        assert actions.dtype == torch.float64
        assert (actions.numpy() >= LOW).all()
        assert (actions.numpy() <= HIGH).all()
    assert_allclose(nodes.weights.sum(1), 1.0, atol=1e-6)


@every_continuous
def test_draws_are_as_the_nodes_say_and_the_same_in_parts(name):
    policy, x = from_log(name), normal(0, 1, 3)
    outputs = policy.outputs(x).expand(40_000, -1)
    drawn = policy.draw(outputs, np.random.RandomState(0)).numpy()
    nodes = policy.predicted_nodes(outputs[:1])
    mean = (nodes.weights[0] @ nodes.actions[0]).numpy()
    assert_allclose(drawn.mean(axis=0), mean, atol=0.03)
    rng = np.random.RandomState(0)
    parts = [policy.draw(part, rng).numpy() for part in outputs.split(15_000)]
    assert_array_equal(np.concatenate(parts), drawn)


def test_modes():
    policy, x = from_log("candidates"), normal(0, 9, 3)
    nodes = policy(x)
    best = nodes.actions[0][nodes.weights.argmax(dim=1)]
    assert_close(policy.mode(policy.outputs(x)), best)
    policy = from_log("gaussian")
    outputs = policy.outputs(x)
    centre, half = (HIGH + LOW) / 2, (HIGH - LOW) / 2
    median = centre + half * np.tanh(outputs[:, :2].numpy())
    assert_allclose(policy.mode(outputs).numpy(), median, rtol=1e-12)


@pytest.fixture
def deterministic(monkeypatch):
    """A new policy class, known by its name while it is needed."""

    class Deterministic(ContinuousPolicy, name="deterministic"):
        """Nearly one action in each state: the outputs, and a little to each side."""

        has_moving_actions = True

        def __init__(self, head, low, high):
            super().__init__()
            self.head, self.bounds = as_head(head), (low, high)
            self.n_outputs = len(low)

        @classmethod
        def from_log(cls, actions, low, high, *, candidates=None, random_state=None):
            return cls(torch.zeros(1, len(low)), low, high)

        def with_head(self, head):
            return Deterministic(head, *self.bounds)

        def outputs(self, x):
            return self.head(x)

        def choice(self, outputs):
            low, high = (torch.from_numpy(bound).to(outputs) for bound in self.bounds)
            offsets = torch.tensor([-0.1, 0.0, 0.1]).to(outputs)[:, None]
            actions = outputs[:, None, :] + offsets * (high - low)
            actions = torch.minimum(torch.maximum(actions, low), high)
            return Nodes(actions, torch.full(actions.shape[:2], 1 / 3).to(outputs))

        def mirror_target(self, outputs, weights):
            return (weights[:, :, None] * self.choice(outputs).actions).sum(dim=1)

        def mirror_loss(self, outputs, target):
            return ((outputs - target) ** 2).mean()

        def mode(self, outputs):
            return self.predicted_nodes(outputs).actions[:, 1]

        def draw(self, outputs, rng):
            return self.mode(outputs)

    # The rules are made when they are imported, and a class's file is imported first.
    rule = hyperparameters.one_of(*CONTINUOUS_POLICIES)
    monkeypatch.setitem(hyperparameters.RULES, "action_distribution", rule)
    yield Deterministic
    del CONTINUOUS_POLICIES["deterministic"]


@ignore_convergence
@pytest.mark.parametrize(
    "solver", ["closed_form", pytest.param("stochastic", marks=pytest.mark.slow)]
)
def test_the_estimator_takes_a_new_policy_class(deterministic, solver):
    log = dose_log(n=400)
    policy = estimator(
        action_distribution="deterministic",
        solver=solver,
        bandwidth="median",
        n_components=40,
        mirror_steps=5,
        max_iter=5,
        discount=0.5,
        ridge=0.0,
    ).fit(log)
    assert isinstance(policy.policy_, deterministic)
    states = log.state[:50]
    loss = ((policy.predict(states) - best_dose(states, 1).ravel()) ** 2).mean()
    assert loss < 0.5 * (best_dose(states, 1) ** 2).mean()
    actions, weights = policy.action_nodes(states)
    assert actions.shape == (50, 3, 1)
    assert_allclose(weights, 1 / 3, rtol=1e-6)
    assert_array_equal(policy.sample(states), policy.predict(states))
