"""Doses over decades are compared by their logarithm, other actions as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.testing import assert_close

from sklearn_stackelberg._action_scale import ActionScale

rng = np.random.default_rng(0)
COLUMNS = {
    "lognormal": (rng.lognormal(2.0, 1.2, 500), True),
    "exponential": (rng.exponential(5.0, 500), True),
    "lognormal within a decade": (rng.lognormal(2.0, 0.3, 500), False),
    # Its logarithm is more skewed than it is.
    "uniform": (rng.uniform(0.0, 10.0, 500), False),
    "with a zero": (np.append(rng.lognormal(2.0, 1.2, 500), 0.0), False),
    "of both signs": (rng.normal(size=500), False),
    "constant": (np.full(500, 3.0), False),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_which_columns(name):
    column, is_log = COLUMNS[name]
    assert ActionScale.of(column[:, None]).is_log.tolist() == [is_log]


def test_columns_are_scaled_each_by_itself():
    dose, other = COLUMNS["lognormal"][0], COLUMNS["of both signs"][0]
    actions = np.column_stack([other, dose])
    scale = ActionScale.of(actions)
    found = scale.transform(actions)
    assert_allclose(found, np.column_stack([other, np.log(dose)]))
    tensor = torch.from_numpy(actions)
    assert_close(scale.transform_tensor(tensor), torch.from_numpy(found))
    assert_close(scale.inverse_tensor(torch.from_numpy(found)), tensor)
    below = np.array([[[-3.0, 0.0]]])
    assert_allclose(scale.transform(below), [[[-3.0, np.log(dose.min())]]])


def test_derivatives_are_numbers():
    actions = np.column_stack([COLUMNS["lognormal"][0], COLUMNS["of both signs"][0]])
    scale = ActionScale.of(actions)
    # The exponential and the logarithm of the second column are infinite or none.
    for function in (scale.transform_tensor, scale.inverse_tensor):
        x = torch.tensor([[2.0, -1.0], [3.0, 1e4]], requires_grad=True)
        function(x).sum().backward()
        assert torch.isfinite(x.grad).all()
        assert_close(x.grad[:, 1], torch.ones(2))


def test_what_is_not_skewed_stays_the_same_array():
    actions = COLUMNS["uniform"][0][:, None]
    assert ActionScale.of(actions).transform(actions) is actions
    assert_array_equal(ActionScale.of(actions).lowest, [0.0])
