"""Sums of blocks against the sums of all rows; threads against a loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _problems import closed_form, random_rows, random_theta
from numpy.testing import assert_array_equal
from threadpoolctl import threadpool_info, threadpool_limits
from torch.testing import assert_close

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg._executor import (
    add_to,
    map_blocks,
    one_blas_thread,
    subtrees,
    tree_sum,
)
from sklearn_stackelberg._problem.rows import ComputedFeatures
from sklearn_stackelberg.policies._base import NEVER
from sklearn_stackelberg.solvers import _lstd_block as lstd_block
from sklearn_stackelberg.solvers import _lstd_discrete as lstd_discrete
from sklearn_stackelberg.solvers._best_response import BestResponse
from sklearn_stackelberg.solvers._lstd_discrete import DiscreteLSTD, split_rows

CLOSE = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture
def short_blocks(monkeypatch):
    """Blocks of 40 rows."""
    monkeypatch.setattr(lstd_discrete, "_BLOCK_ROWS", 40)
    monkeypatch.setattr(lstd_discrete, "_BLOCK_ROWS_PER_ACTION", 1)


def make_system(seed=0, n=300, ridge=0.1, weighted=False, n_initial=20, computed=False):
    """The equations of rows of which some support a single action."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(120, 3))
    table = random_rows(seed, n=n, table=values, n_initial=n_initial)
    rows, features = table.rows, table.features
    if computed:
        features = ComputedFeatures(lambda states: states, values, "cpu")
    if weighted:
        weight, initial_weight = rng.uniform(0.5, 2, n), rng.uniform(0.5, 2, n_initial)
        rows = rows._replace(weight=weight, initial_weight=initial_weight)
    prior = rng.normal(size=(120, 3))
    prior[:30, 1:] = NEVER
    prior = torch.from_numpy(prior)
    return DiscreteLSTD(rows, features, 3, 0.9, ridge, log_prior=prior)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
# One initial state: most blocks have none.
@pytest.mark.parametrize("n_initial", [1, 20])
@pytest.mark.parametrize("computed", [False, True])
def test_sums_of_blocks_are_the_sums_of_all_rows(
    weighted, ridge, n_initial, computed, monkeypatch, request
):
    settings = {"ridge": ridge, "weighted": weighted, "n_initial": n_initial}
    whole = make_system(**settings)
    request.getfixturevalue("short_blocks")
    monkeypatch.setattr(lstd_discrete, "_GATHERED_BYTES", 0)
    blocks = make_system(**settings, computed=computed)
    assert (len(whole.blocks), len(blocks.blocks)) == (1, 8)
    theta = random_theta(whole)
    a, b = (BestResponse(system, theta, 2.0, 0.1) for system in (whole, blocks))
    for name in ("M", "b", "c"):
        assert_close(getattr(b.system, name), getattr(a.system, name), **CLOSE)
    for name in ("value", "pessimism", "bellman_error", "w"):
        assert_close(getattr(b, name), getattr(a, name), **CLOSE)
    assert_close(b.total_derivative(), a.total_derivative(), **CLOSE)
    assert_close(b.individual_derivative(), a.individual_derivative(), **CLOSE)
    assert blocks.logit_scale(theta) == pytest.approx(whole.logit_scale(theta))
    moved = [s.mirror_step(theta, a.flat_w, 1.0) for s in (whole, blocks)]
    assert_close(moved[1], moved[0], **CLOSE)


def test_a_part_of_the_rows_is_in_blocks_too(request):
    whole = make_system()
    expected = whole.subsample(100)
    request.getfixturevalue("short_blocks")
    part = make_system().subsample(100)
    assert len(part.blocks) == 2
    assert part.log_length == 300
    theta = random_theta(whole)
    assert_close(part(theta).M, expected(theta).M, **CLOSE)
    assert_close(part(theta).b, expected(theta).b, **CLOSE)


@pytest.mark.parametrize("kept", [True, False])
def test_features_of_a_state_are_computed_once_or_once_in_a_pass(
    kept, short_blocks, monkeypatch
):
    monkeypatch.setattr(lstd_discrete, "TABLE_BYTES", 2**20 if kept else 0)
    monkeypatch.setattr(lstd_discrete, "_GATHERED_BYTES", 0)
    asked, values = [], np.random.default_rng(0).normal(size=(301, 3))

    def transform(states):
        asked.append(len(states))
        return states

    n = np.arange(300)
    rows = random_rows(0, n=300, table=values).rows
    rows = rows._replace(
        state=n, next_state=n + 1, initial=n[::10], terminated=np.zeros(300)
    )
    system = DiscreteLSTD(rows, ComputedFeatures(transform, values, "cpu"), 3, 0.9)
    # Blocks share the state between them; one state alone shows how many features.
    once = 301 + len(system.blocks) - 1
    asked_of_blocks = sum(asked)
    assert len(system.c)
    if kept:
        assert sum(asked) == asked_of_blocks == 1 + once
    asked.clear()
    system(random_theta(system))
    assert sum(asked) == (0 if kept else once)


@pytest.mark.parametrize("size", [1.0, 100.0])
def test_unlikely_actions_add_nothing(size, monkeypatch):
    found = []
    for share in (-1.0, 2.0):  # all rows of an action, and those that take it
        monkeypatch.setattr(lstd_block, "_DENSE_SHARE", share)
        system = make_system()
        at = BestResponse(system, size * random_theta(system), 2.0, 0.1)
        found.append((at.system.M, at.total_derivative()))
    for dense, sparse in zip(*found, strict=True):
        assert_close(sparse, dense, **CLOSE)


def test_which_blocks_keep_their_features_changes_no_bit(short_blocks, monkeypatch):
    monkeypatch.setattr(lstd_discrete, "_GATHERED_BYTES", 0)
    monkeypatch.setattr(lstd_discrete, "_HELD_TABLE", 0)
    found = []
    n_bytes = 120 * 3 * 8
    for share, n_kept in ((0.0, 8), (0.5, 4), (1.0, 0)):
        monkeypatch.setattr(lstd_discrete, "_COMPUTED_TABLE", share * n_bytes)
        system = make_system(computed=True)
        assert [part.keeps_table for part in system._parts].count(True) == n_kept
        at = BestResponse(system, random_theta(system), 2.0, 0.1)
        found.append((at.system.M, at.w, at.total_derivative()))
    for one, *others in zip(*found, strict=True):
        for other in others:
            assert_array_equal(other, one)


@pytest.mark.parametrize("n_threads", [2, 3, 5])
def test_threads_change_no_bit(n_threads, threads, short_blocks):
    found = []
    for count in (1, n_threads):
        threads(count)
        system = make_system()
        result = closed_form(2.0, 0.1).solve(system, random_theta(system))
        found.append((result.policy, result.q_function, torch.tensor(result.value)))
        # What was set for torch stays set.
        assert torch.get_num_threads() == count
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_error_in_a_block_is_raised_and_threads_are_given_back(n_threads, threads):
    threads(n_threads)

    def fails(item):
        raise OSError(f"block {item} cannot be read")

    with pytest.raises(OSError, match="block 0 cannot be read"):
        list(map_blocks(fails, [0, 1, 2]))
    assert torch.get_num_threads() == n_threads


@pytest.mark.parametrize("n_terms", [1, 2, 3, 7, 8, 13])
def test_a_tree_of_sums_has_every_term_once(n_terms):
    terms = ((torch.tensor([2.0**k]), torch.ones(2)) for k in range(n_terms))
    total, count = tree_sum(terms, add_to)
    assert (total.item(), count.tolist()) == (2.0**n_terms - 1, [n_terms] * 2)


@pytest.mark.parametrize("n_terms", [1, 2, 3, 7, 8, 13, 40])
@pytest.mark.parametrize("n_owners", [1, 2, 3, 5])
def test_sums_of_subtrees_are_in_the_order_of_the_tree(n_terms, n_owners):
    def add(left, right):
        return f"({left}+{right})"

    expected = tree_sum(map(str, range(n_terms)), add)
    owners = [k * n_owners // n_terms for k in range(n_terms)]
    groups = [*subtrees(owners, 8)]
    assert [k for group in groups for k in group] == [*range(n_terms)]
    assert all(len({owners[k] for k in group}) == 1 for group in groups)
    terms = (tree_sum(map(str, group), add) for group in groups)
    assert tree_sum(terms, add, map(len, groups)) == expected


@pytest.mark.parametrize("n_blocks", [1, 3, 8])
def test_every_row_and_initial_state_is_in_one_block(n_blocks):
    rows = random_rows(0, n_states=60, n_initial=30).rows
    parts = [part for part, _ in split_rows(rows, n_blocks)]
    assert_array_equal(np.concatenate([part.reward for part in parts]), rows.reward)
    initial = np.concatenate([part.initial for part in parts])
    assert_array_equal(np.sort(initial), np.sort(rows.initial))


def test_initial_states_stand_with_the_rows_that_lead_there():
    n = np.arange(12)
    rows = random_rows(0, n=12, n_states=13).rows
    rows = rows._replace(state=n, next_state=n + 1, initial=n)
    parts = [part for part, _ in split_rows(rows, 3)]
    held = [np.isin(part.initial, part.next_state).mean() for part in parts]
    assert min(held) >= 0.75


def test_a_fit_is_the_same_in_blocks_and_whatever_the_threads(monkeypatch, threads):
    rng = np.random.default_rng(0)
    state = rng.normal(size=(301, 2))
    log = Transitions(
        state[:-1],
        rng.integers(2, size=300),
        state[:-1, 0] + rng.normal(size=300),
        state[1:],
        episode=np.arange(300) // 10,
        step=np.arange(300) % 10,
    )
    policy = StackelbergPolicyEstimator(
        discount=0.9, n_components=20, bandwidth=1.0, random_state=0
    )
    whole = policy.fit(log).q_values(state)
    monkeypatch.setattr(lstd_discrete, "_BLOCK_ROWS", 50)
    monkeypatch.setattr(lstd_discrete, "_BLOCK_ROWS_PER_ACTION", 1)
    threads(1)
    loop = policy.fit(log).q_values(state)
    threads(2)
    with threadpool_limits(2, user_api="blas"):
        threaded = policy.fit(log).q_values(state)
    np.testing.assert_allclose(loop, whole, rtol=1e-6, atol=1e-8)
    assert_array_equal(threaded, loop)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fit_of_many_features_is_the_same_whatever_the_threads(dtype, threads):
    rng = np.random.default_rng(0)
    state = rng.normal(size=(2_001, 4))
    action = rng.integers(4, size=2_000)
    reward = state[:-1, 0] * (action == 1) + rng.normal(size=2_000)
    log = Transitions(state[:-1], action, reward, state[1:])
    found = []
    for count in (1, 2):
        threads(count)
        policy = StackelbergPolicyEstimator(
            discount=0.9, n_components=120, bandwidth=1.0, random_state=0, dtype=dtype
        )
        # Systems of 500 weights, and a Gram matrix: several threads round otherwise.
        with threadpool_limits(count, user_api="blas"):
            policy.fit(log)
        found.append((policy.policy_value_, policy.policy_.weight.numpy().tobytes()))
    assert found[0] == found[1]


def blas_threads():
    found = [
        lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"
    ]
    return max(found, default=1)


def test_blas_has_one_thread_while_blocks_are_summed_and_gets_the_others_back():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        one, other = one_blas_thread(), one_blas_thread()
        # A second fit begins before the first one ends, and ends after it.
        one.__enter__()
        other.__enter__()
        assert blas_threads() == 1
        one.__exit__(None, None, None)
        assert blas_threads() == 1
        other.__exit__(None, None, None)
        assert blas_threads() == before
