"""Policies over continuous actions: nodes, candidates, squashed Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial import ConvexHull
from torch import nn
from torch.testing import assert_close

from sklearn_stackelberg.policies import (
    CandidateSoftmax,
    SquashedGaussian,
    choose_candidates,
)
from sklearn_stackelberg.policies._gaussian import inward, mean_and_log_std, outputs_of
from sklearn_stackelberg.policies._quadrature import standard_normal_nodes


def normal(seed, *shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def gaussian(seed=0, m=3, p=2, **kwargs):
    low, high = -1.0 - np.arange(p), 2.0 + np.arange(p)
    return SquashedGaussian(normal(seed, m, 2 * p), low, high, **kwargs)


# Nodes.


@given(n_nodes=st.integers(1, 12))
def test_gauss_hermite_nodes_integrate_polynomials_exactly(n_nodes):
    nodes, weights = standard_normal_nodes(n_nodes, 1)
    assert_close(weights.sum(), torch.tensor(1.0).double())
    for degree in range(2 * n_nodes):
        moment = np.prod(np.arange(1, degree, 2)) if degree % 2 == 0 else 0.0
        found = float(weights @ nodes[:, 0] ** degree)
        assert found == pytest.approx(moment, rel=1e-9, abs=1e-9 * 10.0**degree)


@given(n_nodes=st.integers(2, 40), p=st.integers(2, 5), seed=st.integers(0, 9))
def test_nodes_in_more_dimensions_have_mean_zero_and_variance_one(n_nodes, p, seed):
    nodes, weights = standard_normal_nodes(n_nodes, p, seed)
    assert n_nodes <= len(nodes) <= n_nodes + 1
    assert_close(weights @ nodes, torch.zeros(p).double(), atol=1e-12, rtol=0)
    assert_close(weights @ nodes**2, torch.ones(p).double())
    again, _ = standard_normal_nodes(n_nodes, p, seed)
    assert torch.equal(nodes, again)


# Candidates' softmax.


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_a_candidate_softmax_is_the_softmax_of_linear_scores(shape):
    features, weight = normal(0, 6, 3, 4), normal(1, *shape)
    candidates = normal(2, 3, 2)
    policy = CandidateSoftmax(weight, candidates)
    nodes = policy(features)
    expected = torch.softmax(features @ weight.reshape(-1), dim=1)
    assert_close(nodes.weights, expected)
    assert_close(nodes.actions, candidates.expand(6, 3, 2))
    assert not nodes.weights.requires_grad


def test_a_candidate_softmax_takes_a_module():
    network = nn.Linear(2, 3)
    policy = CandidateSoftmax(network, torch.ones(3, 1, dtype=torch.float64))
    x = torch.ones(5, 2)
    nodes = policy(x)
    assert_close(nodes.weights, torch.softmax(network(x), dim=1))
    assert nodes.actions.dtype == torch.float32
    nodes.weights[:, 0].sum().backward()
    assert network.weight.grad is not None
    assert "candidates" in policy.state_dict()


# Which actions are candidates.


@given(count=st.integers(2, 20), seed=st.integers(0, 99))
def test_quantiles_are_logged_and_evenly_many_rows_apart(count, seed):
    rng = np.random.default_rng(seed)
    actions = rng.lognormal(sigma=2.0, size=(40 * count, 1))
    low, high = actions.min(axis=0), actions.max(axis=0)
    found = choose_candidates(actions, low, high, count)
    assert found.shape == (count, 1)
    assert np.isin(found, actions).all()
    between = np.searchsorted(np.sort(actions[:, 0]), found[:, 0])
    assert_array_equal(np.diff(between), 40)
    assert abs(between[0] - 20) <= 1
    # Whatever the unit, or any other increasing function of the action.
    assert_allclose(
        choose_candidates(np.log(actions), np.log(low), np.log(high), count),
        np.log(found),
    )


@given(count=st.integers(3, 20), seed=st.integers(0, 99))
def test_what_is_logged_often_is_one_candidate(count, seed):
    rng = np.random.default_rng(seed)
    given = rng.exponential(size=300).clip(max=2.0)
    actions = np.append(np.zeros(700), given)[:, None]
    found = choose_candidates(actions, np.zeros(1), np.full(1, 2.0), count)[:, 0]
    assert len(found) == count
    assert found[0] == 0.0
    assert (np.diff(found) > 0).all()


@pytest.mark.parametrize("p", [1, 2])
def test_a_log_of_few_actions_has_them_for_candidates(p):
    rng = np.random.default_rng(0)
    few = rng.normal(size=(4, p))
    actions = few[rng.integers(4, size=100)]
    low, high = np.full(p, -9.0), np.full(p, 9.0)
    found = choose_candidates(actions, low, high, 4)
    assert_array_equal(found, np.unique(few, axis=0))


@pytest.mark.parametrize("p", [2, 3])
def test_centres_lie_in_the_hull_of_the_log_and_are_drawn_by_the_seed(p):
    rng = np.random.default_rng(0)
    actions = rng.normal(size=(500, p)) * 10.0 ** np.arange(p)
    low, high = actions.min(axis=0), actions.max(axis=0)
    found = choose_candidates(actions, low, high, 10, random_state=3)
    assert found.shape == (10, p)
    hull = ConvexHull(actions).equations
    assert (found @ hull[:, :-1].T + hull[:, -1] <= 1e-9).all()
    again = choose_candidates(actions, low, high, 10, random_state=3)
    assert_array_equal(found, again)
    other = choose_candidates(actions, low, high, 10, random_state=4)
    assert not np.array_equal(found, other)
    # The unit of a column decides nothing.
    unit = np.array([1.0, 1e-3, 1e3])[:p]
    scaled = choose_candidates(actions * unit, low * unit, high * unit, 10, 3)
    assert_allclose(scaled, found * unit)


def test_centres_are_of_every_step_of_the_episodes():
    # Three steps an episode, and what is done in the last is done in no other.
    actions = np.tile([[0.0, 0.0], [0.0, 0.0], [20.0, 20.0]], (20_000, 1))
    actions += np.random.default_rng(0).normal(size=actions.shape)
    low, high = actions.min(axis=0), actions.max(axis=0)
    found = choose_candidates(actions, low, high, 8, random_state=0)
    assert (found > 10.0).all(axis=1).any()


def test_centres_of_doses_over_decades_are_spread_over_the_decades():
    rng = np.random.default_rng(0)
    dose, other = rng.lognormal(2.0, 1.5, size=2000), rng.normal(size=2000)
    actions = np.column_stack([dose, other])
    low, high = actions.min(axis=0), actions.max(axis=0)
    found = choose_candidates(actions, low, high, 16, random_state=0)
    assert 4 <= (found[:, 0] < np.median(dose)).sum() <= 12


def test_candidates_as_given():
    actions, low, high = np.zeros((5, 1)), np.array([-1.0]), np.array([1.0])
    assert_array_equal(
        choose_candidates(actions, low, high, [0.0, 1.0]), [[0.0], [1.0]]
    )
    with pytest.raises(ValueError, match=r"outside the bounds.*in rows 1, 2: .*1\.5"):
        choose_candidates(actions, low, high, [0.0, 1.5, -2.0])
    with pytest.raises(ValueError, match="outside the bounds"):
        choose_candidates(actions, low, high, [0.0, np.nan])
    with pytest.raises(ValueError, match=r"shape \(2, 2\).*1 columns"):
        choose_candidates(actions, low, high, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="each given once"):
        choose_candidates(actions, low, high, [0.5, 0.5])


def test_one_action_is_no_choice():
    low, high = np.array([-1.0]), np.array([1.0])
    with pytest.raises(ValueError, match="at least two actions"):
        choose_candidates(np.linspace(-1, 1, 9)[:, None], low, high, 1)
    with pytest.raises(ValueError, match=r"holds one action, \[0\.0\], in all"):
        choose_candidates(np.zeros((5, 1)), low, high)


# The squashed Gaussian.


def test_a_gaussian_stays_in_the_range_of_each_state():
    policy = gaussian(m=2).with_head(1e3 * normal(3, 2, 4), has_range=True)
    ends = torch.tensor([[-0.5, 0.0, -0.2, 1.5], [1.0, -2.0, 1.0, 3.0]]).double()
    outputs = policy.outputs(torch.cat([normal(4, 2, 2), ends], dim=1))
    low, high = ends.chunk(2, dim=1)
    rng = np.random.RandomState(0)
    for found in (policy.mode(outputs), policy.draw(outputs, rng)):
        assert ((found >= low) & (found <= high)).all()
    nodes = policy.choice(outputs).actions
    assert ((nodes >= low[:, None]) & (nodes <= high[:, None])).all()
    # The range is no output that a mirror step moves.
    weights = policy.choice(outputs).weights
    target = policy.mirror_target(outputs, weights)
    assert target.shape == (2, 4)
    assert policy.mirror_loss(outputs[:, :4], outputs[:, :4]) == 0


def test_a_range_that_is_the_bounds_changes_nothing():
    policy = gaussian(m=3)
    ranged = policy.with_head(policy.head, has_range=True)
    x = normal(5, 4, 3)
    ends = torch.cat([policy.low, policy.high]).expand(4, -1)
    found = ranged(torch.cat([x, ends], dim=1))
    assert_close(found.actions, policy(x).actions)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_doses_over_decades_are_squashed_by_their_logarithm(dtype):
    doses = np.random.default_rng(0).lognormal(2.0, 1.5, size=(500, 1))
    low, high = doses.min(axis=0), doses.max(axis=0)
    found = SquashedGaussian.from_log(doses, low, high)
    policy = found.with_head(torch.zeros(1, 2, dtype=dtype))
    middle = policy.mode(policy.outputs(torch.ones(1, 1, dtype=dtype)))
    assert_allclose(middle, np.sqrt(low * high)[None], rtol=1e-5)
    wild = policy.choice(torch.tensor([[-50.0, 0.0], [50.0, 0.0]], dtype=dtype))
    assert wild.actions.min() >= low[0]
    assert wild.actions.max() <= high[0]


class Wild:
    """A generator whose numbers are far out."""

    def standard_normal(self, shape):
        return 1e3 * np.random.RandomState(0).standard_normal(shape)


@given(
    seed=st.integers(0, 999),
    scale=st.sampled_from([1e-3, 1.0, 1e3, 1e8]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    p=st.integers(1, 3),
)
def test_the_bounds_are_never_crossed(seed, scale, dtype, p):
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.normal(size=(2, p)) * 10.0 ** rng.integers(-4, 5), axis=0)
    policy = SquashedGaussian(scale * normal(seed, 2, 2 * p).to(dtype), low, high)
    x = normal(seed + 1, 9, 2).to(dtype)
    drawn = policy.draw(policy.outputs(x), Wild())
    assert policy(x).actions.dtype == dtype
    # In the bounds as they were given, in float64, whatever the policy computes in.
    for actions in (policy(x).actions, policy.mode(policy.outputs(x)), drawn):
        exact = actions.double().numpy()
        assert (exact >= low).all()
        assert (exact <= high).all()


@given(seed=st.integers(0, 99))
def test_rounded_bounds_are_the_nearest_within(seed):
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.normal(size=(2, 4)), axis=0)
    below, above = inward(low, high, torch.float32)
    assert (below.double().numpy() >= low).all()
    assert (above.double().numpy() <= high).all()
    assert_allclose(below, low, rtol=1e-6)
    assert_allclose(above, high, rtol=1e-6)


@pytest.mark.parametrize("p", [1, 2])
def test_nodes_stand_for_the_samples(p):
    policy = gaussian(p=p, n_nodes=30 if p == 1 else 4096)
    x = normal(5, 1, 3)
    outputs = policy.outputs(x).expand(200_000, -1)
    drawn = policy.draw(outputs, np.random.RandomState(0))
    nodes = policy(x)
    for f in (torch.sin, torch.square):
        found = (nodes.weights[0] @ f(nodes.actions[0])).numpy()
        assert_allclose(found, f(drawn).mean(dim=0), atol=0.02)


def test_the_median_is_in_the_middle_of_samples():
    policy = gaussian(p=1)
    x = normal(5, 1, 3)
    outputs = policy.outputs(x).expand(100_000, -1)
    drawn = policy.draw(outputs, np.random.RandomState(0))
    assert float(drawn.median()) == pytest.approx(
        float(policy.mode(policy.outputs(x))), abs=0.02
    )


def test_zero_is_the_middle_of_the_bounds():
    policy = SquashedGaussian(torch.zeros(3, 2), [1.0], [5.0])
    nodes = policy(torch.ones(2, 3))
    assert_close(
        policy.mode(policy.outputs(torch.ones(2, 3))), torch.full((2, 1), 3.0).double()
    )
    assert_close((nodes.weights * nodes.actions[..., 0]).sum(1), torch.full((2,), 3.0))


def test_a_module_learns_through_the_nodes():
    network = nn.Linear(2, 4)
    policy = SquashedGaussian(network, [0.0, 0.0], [1.0, 2.0])
    nodes = policy(torch.ones(3, 2))
    assert nodes.actions.shape == (3, 16, 2)
    (nodes.weights[..., None] * nodes.actions).sum().backward()
    assert torch.isfinite(network.weight.grad).all()
    assert (network.weight.grad[:2] != 0).all()


@given(seed=st.integers(0, 99))
def test_outputs_of_a_mean_and_spread_give_them_back(seed):
    mean, log_std = normal(seed, 5, 2), -1.75 + 2.2 * torch.tanh(normal(seed, 5, 2))
    found = mean_and_log_std(outputs_of(mean, log_std))
    assert_close(found[0], mean)
    assert_close(found[1], log_std)


def test_the_spread_stays_within_its_clamp():
    raw = torch.tensor([[0.0, -1e6], [0.0, 1e6], [0.0, 0.0]]).double()
    log_std = mean_and_log_std(raw)[1][:, 0]
    assert_allclose(log_std[:2], [-4.0, 0.5])
    assert -0.5 < float(log_std[2]) < 0.0


@pytest.mark.parametrize("p", [1, 2])
def test_the_gaussian_of_its_own_nodes_is_itself(p):
    policy = gaussian(p=p)
    outputs = policy.head(normal(3, 4, 3))
    found = policy.mirror_target(outputs, policy.choice(outputs).weights)
    assert_close(
        mean_and_log_std(found)[1], mean_and_log_std(outputs)[1], atol=0.03, rtol=0
    )
    assert_close(found[:, :p], outputs[:, :p])
