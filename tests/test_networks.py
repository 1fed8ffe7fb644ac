"""Networks: specified, cloned, built the same twice, and refused in a sentence."""

from __future__ import annotations

import pickle

import pytest
import torch
from sklearn.base import clone
from torch import nn
from torch.testing import assert_close

from sklearn_stackelberg.networks import ACTIVATIONS, MLP, build_network
from sklearn_stackelberg.policies import NetworkSoftmax
from sklearn_stackelberg.q_functions import ContinuousQ, DiscreteQ, LinearQ


def normal(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


class Holder(nn.Linear):
    """A linear layer with something more."""

    def __init__(self, n_inputs, n_outputs, change):
        super().__init__(n_inputs, n_outputs)
        change(self)


class Result(nn.Linear):
    """A linear layer whose output is changed."""

    def __init__(self, n_inputs, n_outputs, change):
        super().__init__(n_inputs, n_outputs)
        self.change = change

    def forward(self, x):
        return self.change(super().forward(x))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("sizes", [(), (5,), [7, 6]])
def test_a_perceptron_has_the_layers_asked_for(sizes, activation):
    network = MLP(sizes, activation)(3, 2)
    shapes = [layer.weight.shape for layer in network if isinstance(layer, nn.Linear)]
    assert [(out, into) for out, into in shapes] == [
        *zip([*sizes, 2], [3, *sizes], strict=True)
    ]
    bends = [layer for layer in network if not isinstance(layer, nn.Linear)]
    assert [type(layer) for layer in bends] == [ACTIVATIONS[activation]] * len(sizes)


def test_a_perceptron_is_cloned_pickled_and_reached_by_a_grid():
    mlp = MLP((3, 4), "tanh")
    assert clone(mlp).get_params() == mlp.get_params()
    assert pickle.loads(pickle.dumps(mlp)).get_params() == mlp.get_params()
    mlp.set_params(hidden_layer_sizes=(9,))
    assert mlp(2, 1)[0].weight.shape == (9, 2)
    # One number is one layer, as in scikit-learn.
    assert MLP(4)(2, 1)[0].weight.shape == (4, 2)


@pytest.mark.parametrize("sizes", [(0,), (2.5,), (True,), (4, -1)])
def test_sizes_that_are_none_are_refused(sizes):
    with pytest.raises(ValueError, match=r"hidden_layer_sizes must be positive"):
        MLP(sizes)(3, 2)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match=r"activation must be one of .*'relu'.*'swig'"):
        MLP(activation="swig")(3, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_seed_builds_the_same_network_and_draws_nothing_elsewhere(dtype):
    torch.manual_seed(7)
    state, default = torch.random.get_rng_state(), torch.get_default_dtype()
    first = build_network(MLP((5,)), 3, 2, dtype=dtype, seed=1)
    again = build_network(MLP((5,)), 3, 2, dtype=dtype, seed=1)
    other = build_network(MLP((5,)), 3, 2, dtype=dtype, seed=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_default_dtype() == default
    assert {p.dtype for p in first.parameters()} == {dtype}
    assert not first.training
    for a, b, c in zip(*(m.parameters() for m in (first, again, other)), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_a_module_of_the_callers_is_copied():
    mine = nn.Linear(3, 2)
    before = mine.weight.detach().clone()
    built = build_network(lambda n_inputs, n_outputs: mine, 3, 2)
    with torch.no_grad():
        built.weight.add_(1.0)
    assert torch.equal(mine.weight, before)
    assert mine.training


@pytest.mark.parametrize(
    ("factory", "error", "message"),
    [
        (nn.Linear(3, 2), TypeError, r"must be a callable, factory\(n_inputs"),
        ("mlp", TypeError, r"must be a callable.*got 'mlp'"),
        (lambda i, o: None, TypeError, r"must return a torch\.nn\.Module.*NoneType"),
        (lambda i, o: nn.Flatten(), ValueError, r"without parameters to train \(Fla"),
        (
            lambda i, o: nn.Linear(i, o).requires_grad_(False),
            ValueError,
            r"without parameters to train",
        ),
        (
            lambda i, o: nn.Linear(i, o + 1),
            ValueError,
            r"gives \(3, 5\) outputs for \(3, 3\) inputs.*expected \(3, 4\)",
        ),
        (
            lambda i, o: Result(i, o, lambda y: y.sum()),
            ValueError,
            r"gives \(\) outputs",
        ),
        (
            lambda i, o: Result(i, o, lambda y: (y, y)),
            TypeError,
            r"output is <class 'tuple'>",
        ),
        (
            lambda i, o: Result(i, o, lambda y: y * float("nan")),
            ValueError,
            r"initial outputs are not finite",
        ),
        (lambda i, o: nn.Linear(i + 1, o), ValueError, r"fails on \(3, 3\) inputs"),
        (
            lambda i, o: Holder(
                i, o, lambda m: m.register_buffer("mean", torch.zeros(3, device="meta"))
            ),
            ValueError,
            r"'mean' is on the device 'meta', others on cpu",
        ),
        (
            lambda i, o: nn.Linear(i, o, device="meta"),
            ValueError,
            r"'weight' is on the device 'meta'",
        ),
        (
            lambda i, o: Result(i, o, lambda y: y + torch.zeros(4, device="meta")),
            ValueError,
            r"fails on .* on the device 'cpu': ",
        ),
    ],
)
def test_modules_that_cannot_be_played_are_refused(factory, error, message):
    with pytest.raises(error, match=message):
        build_network(factory, 3, 4, name="q_function")
    with pytest.raises(error, match=r"^q_function"):
        build_network(factory, 3, 4, name="q_function")


def test_examples_are_what_the_network_is_tried_on():
    class Embedding(nn.Module):
        def __init__(self, n_inputs, n_outputs):
            super().__init__()
            self.table = nn.Embedding(4, n_outputs)

        def forward(self, x):
            return self.table(x[:, 0].long())

    states = torch.tensor([[0.0], [3.0]])
    assert build_network(Embedding, 1, 2, examples=states)(states).shape == (2, 2)
    with pytest.raises((ValueError, IndexError)):
        build_network(Embedding, 1, 2, examples=states + 1.0)


def test_a_softmax_of_a_network_is_one_of_its_logits():
    policy = NetworkSoftmax(build_network(MLP((5,)), 3, 4))
    x = normal(0, 6, 3)
    assert_close(policy(x), torch.softmax(policy.outputs(x), dim=1))
    assert_close(policy(x).sum(1), torch.ones(6).double())


# Q-functions, whatever module they are made of.


@pytest.mark.parametrize("module", [LinearQ(normal(0, 3, 4)), MLP((5,))(3, 4).double()])
def test_a_discrete_q_of_the_logged_and_of_the_chosen_actions(module):
    q, x = DiscreteQ(module), normal(1, 6, 3)
    action = torch.tensor([0, 3, 1, 1, 2, 0])
    assert_close(q.logged(x, action), q(x)[torch.arange(6), action])
    # A policy that takes the logged action for certain.
    assert_close(q.expected(x, torch.eye(4).double()[action]), q.logged(x, action))
    share = torch.softmax(normal(2, 6, 4), 1)
    assert_close(q.expected(x, share), (q(x) * share).sum(1))


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("features", [False, True])
def test_a_continuous_q_of_the_logged_and_of_the_chosen_actions(p, features):
    x, action = normal(1, 6, 3), normal(2, 6, p)
    if features:
        q = ContinuousQ(LinearQ(normal(0, 3, 1)), lambda x, a: x * a[:, :1])
    else:
        q = ContinuousQ(MLP((5,))(3 + p, 1).double())
    nodes = normal(3, 6, 4, p)
    weights = torch.softmax(normal(4, 6, 4), 1)
    apart = [weights[:, j] * q.logged(x, nodes[:, j]) for j in range(4)]
    assert_close(q.expected(x, (nodes, weights)), torch.stack(apart).sum(0))
    # One node that is the logged action.
    certain = (action[:, None, :], torch.ones(6, 1).double())
    assert_close(q.expected(x, certain), q.logged(x, action))
