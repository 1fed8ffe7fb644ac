"""Identities of the softmax policy."""

from __future__ import annotations

import pytest
import torch
from _problems import autograd
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from sklearn_stackelberg.policies import SoftmaxPolicy
from sklearn_stackelberg.policies._base import advantages
from sklearn_stackelberg.policies._softmax import (
    action_probabilities,
    softmax_vjp,
)

SHAPES = {
    "n": st.integers(1, 6),
    "m": st.integers(1, 4),
    "n_actions": st.integers(2, 4),
    "seed": st.integers(0, 99),
}


def draw(n, m, n_actions, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, m, generator=generator, dtype=torch.float64)
    weight = torch.randn(m, n_actions, generator=generator, dtype=torch.float64)
    other = torch.randn(n, n_actions, generator=generator, dtype=torch.float64)
    return features, weight, other


@given(**SHAPES)
def test_probabilities_are_a_distribution_and_ordered_as_the_logits(**shape):
    features, weight, _ = draw(**shape)
    probabilities = SoftmaxPolicy(weight)(features)
    assert (probabilities > 0).all()
    assert_close(probabilities.sum(1), torch.ones(len(features)).double())
    log_ratio = torch.log(probabilities / probabilities[:, :1])
    logits = features @ weight
    assert_close(log_ratio, logits - logits[:, :1])


@given(**SHAPES)
def test_a_weight_common_to_all_actions_changes_nothing(**shape):
    features, weight, _ = draw(**shape)
    common = torch.ones(len(weight), 1).double() * 3
    assert_close(
        action_probabilities(features, weight + common),
        action_probabilities(features, weight),
    )


def test_zero_is_uniform_and_huge_logits_stay_finite():
    features = torch.eye(2, dtype=torch.float64)
    zero = torch.zeros(2, 4, dtype=torch.float64)
    assert_close(SoftmaxPolicy(zero)(features), torch.full((2, 4), 0.25).double())
    huge = torch.tensor([[1e6, -1e6], [-1e6, 1e6]], dtype=torch.float64)
    assert_close(SoftmaxPolicy(huge)(features), features)


@given(**SHAPES)
def test_pull_back_is_autograd_through_the_softmax(**shape):
    features, weight, gradient = draw(**shape)
    logits = features @ weight

    def inner(logits):
        return (torch.softmax(logits, dim=1) * gradient).sum()

    found = softmax_vjp(torch.softmax(logits, dim=1), gradient)
    assert_close(found, autograd(inner, logits), rtol=1e-10, atol=1e-13)


@given(**SHAPES)
def test_advantages_average_to_zero_under_the_policy(**shape):
    features, weight, q_values = draw(**shape)
    probabilities = action_probabilities(features, weight)
    found = advantages(probabilities, q_values)
    average = (probabilities * found).sum(1)
    assert_close(average, torch.zeros_like(average), rtol=0, atol=1e-12)
    # What is left is q up to a number per state.
    assert_close(found - found[:, :1], q_values - q_values[:, :1])


def test_the_policy_holds_its_weight_and_asks_for_no_gradient():
    weight = torch.ones(3, 2, dtype=torch.float64)
    policy = SoftmaxPolicy(weight)
    assert [name for name, _ in policy.named_parameters()] == ["weight"]
    assert not policy(torch.eye(3, dtype=torch.float64)).requires_grad
    copy = SoftmaxPolicy(torch.zeros(3, 2, dtype=torch.float64))
    copy.load_state_dict(policy.state_dict())
    assert_close(copy.weight.data, weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_kept(dtype):
    policy = SoftmaxPolicy(torch.zeros(2, 2, dtype=dtype))
    assert policy(torch.eye(2, dtype=dtype)).dtype == dtype
