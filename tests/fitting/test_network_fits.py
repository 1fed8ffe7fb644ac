"""Networks and the stochastic solver, through the estimator."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from _logs import changed, dose_log, estimator, ignore_convergence, walk_log
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_stackelberg import EpisodeKFold, OnStates
from sklearn_stackelberg.model_selection import FittedQScorer
from sklearn_stackelberg.networks import MLP

pytestmark = [
    ignore_convergence,
    pytest.mark.slow,
    pytest.mark.usefixtures("short_response"),
]

LOG = walk_log(n=120)
DOSES = dose_log(n=120)
NEW = np.random.default_rng(9).normal(size=(40, 2))
SMALL = MLP((6,), "tanh")


def player(**settings):
    """A few turns, so that a fit takes a moment."""
    return estimator(
        **dict(
            q_function=SMALL,
            policy=SMALL,
            ridge=0.0,
            support=0.0,
            max_iter=4,
            mirror_steps=2,
            batch_size=50,
            n_components=20,
            bandwidth="median",
            tol=0.0,
        )
        | settings
    )


class Tower(nn.Module):
    """A user's own network."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(n_inputs, 5), nn.Tanh(), nn.Linear(5, n_outputs)
        )

    def forward(self, x):
        return self.net(x)


def same(one, other, states=NEW):
    assert one.policy_value_ == other.policy_value_
    if one.action_type_ == "discrete":
        assert_array_equal(one.predict_proba(states), other.predict_proba(states))
        assert_array_equal(one.q_values(states), other.q_values(states))
    else:
        for a, b in zip(
            one.action_nodes(states), other.action_nodes(states), strict=True
        ):
            assert_array_equal(a, b)
        dose = one.predict(states)
        assert_array_equal(dose, other.predict(states))
        assert_array_equal(one.q_values(states, dose), other.q_values(states, dose))


# ------------------------------------------------------------ either side, any class

CLASSES = {
    "kernel": "kernel",
    "linear": "linear",
    "MLP": SMALL,
    "class": Tower,
    "function": lambda n, m: nn.Linear(n, m),
}


# Each class on either side, with itself and with another.
PAIRS = [*zip(CLASSES, CLASSES, strict=True)]
PAIRS += [*zip(CLASSES, [*CLASSES][1:] + [*CLASSES][:1], strict=True)]


@pytest.mark.parametrize(("q_function", "policy"), PAIRS)
def test_either_side_of_any_class(q_function, policy):
    fitted = player(q_function=CLASSES[q_function], policy=CLASSES[policy]).fit(LOG)
    probabilities = fitted.predict_proba(NEW)
    assert probabilities.shape == (len(NEW), 3)
    assert_allclose(probabilities.sum(axis=1), 1.0)
    assert fitted.q_values(NEW).shape == (len(NEW), 3)
    assert np.isfinite(fitted.score(LOG))
    assert fitted.predict(NEW).dtype == LOG.action.dtype


# Each class with each of the other side, and either with both distributions.
AMOUNTS = [
    ("kernel", "kernel", "candidates"),
    ("kernel", "linear", "gaussian"),
    ("kernel", "MLP", "candidates"),
    ("MLP", "kernel", "gaussian"),
    ("MLP", "linear", "candidates"),
    ("MLP", "MLP", "gaussian"),
]


@pytest.mark.parametrize(("q_function", "policy", "distribution"), AMOUNTS)
def test_either_side_over_amounts(q_function, policy, distribution):
    fitted = player(
        q_function=CLASSES[q_function],
        policy=CLASSES[policy],
        solver="stochastic",
        action_distribution=distribution,
    ).fit(DOSES)
    low, high = fitted.action_bounds_
    for dose in (fitted.predict(5 * NEW), fitted.sample(5 * NEW, random_state=0)):
        assert dose.shape == (len(NEW),)
        assert dose.min() >= low
        assert dose.max() <= high
    assert np.isfinite(fitted.score(DOSES))
    same(pickle.loads(pickle.dumps(fitted)), fitted)


def test_a_bandwidth_for_states_and_amounts():
    lengths = [1.0, 1.0, 0.5]
    for distribution in ("candidates", "gaussian"):
        settings = dict(bandwidth=lengths, action_distribution=distribution)
        player(policy="kernel", **settings).fit(DOSES)
        kernels = player(q_function="kernel", policy="kernel", **settings).fit(DOSES)
        assert_array_equal(kernels.bandwidth_, lengths)


def test_the_name_is_the_network_with_its_defaults():
    few = dict(max_iter=1, mirror_steps=1)
    named = player(q_function="mlp", policy="mlp", **few).fit(LOG)
    spelt = player(q_function=MLP(), policy=MLP(), **few).fit(LOG)
    same(named, spelt)


def test_what_a_network_reads():
    # An MLP sees standardised columns; a module of the user's the states as they are.
    units = np.array([2.0**-10, 2.0**13])  # rounds nothing
    scaled = changed(LOG, state=LOG.state * units, next_state=LOG.next_state * units)
    one, other = player().fit(LOG), player().fit(scaled)
    found = other.predict_proba(NEW * units)
    assert_allclose(found, one.predict_proba(NEW), atol=1e-12)
    seen = []

    class Looking(Tower):
        def forward(self, x):
            seen.append(x.detach().abs().max())
            return super().forward(x)

    player(q_function=Looking, max_iter=1).fit(
        changed(LOG, state=LOG.state + 100.0, next_state=LOG.next_state + 100.0)
    )
    assert max(seen) > 99.0


def test_a_users_network_reads_states_that_cannot_be_written_to():
    # As pandas and memory-mapped logs give them; torch warns of such, once a process.
    fitted, states = player(q_function=Tower, max_iter=1).fit(LOG), NEW.copy()
    states.flags.writeable = False
    torch.set_warn_always(True)
    try:
        fitted.q_values(states)
    finally:
        torch.set_warn_always(False)


def test_units_of_reward_change_no_action():
    one = player().fit(LOG)
    paid = player().fit(changed(LOG, reward=8.0 * LOG.reward))
    assert_allclose(paid.policy_value_, 8.0 * one.policy_value_, rtol=1e-6)
    assert_allclose(paid.q_values(NEW), 8.0 * one.q_values(NEW), rtol=1e-4, atol=1e-4)
    assert_array_equal(paid.predict(NEW), one.predict(NEW))


def test_both_solvers_play_one_game(monkeypatch):
    monkeypatch.undo()
    settings = dict(q_function="kernel", policy="kernel", lam=3.0, beta=1.0)
    closed = estimator(**settings, n_components=30, bandwidth="median").fit(LOG)
    played = player(
        **settings,
        solver="stochastic",
        ridge=1e-4,
        max_iter=30,
        mirror_steps=15,
        leader_learning_rate=0.05,
        batch_size=None,
        n_components=30,
    ).fit(LOG)
    assert_allclose(played.policy_value_, closed.policy_value_, rtol=0.01)
    assert (played.predict(NEW) == closed.predict(NEW)).mean() >= 0.95


# ------------------------------------------------------------ repeatable, silent


@pytest.mark.parametrize("optimizer", ["gauss-newton", "adam", torch.optim.SGD])
def test_fits_are_repeatable(optimizer):
    def make(parameters, rate):
        return optimizer(parameters, lr=1e-3 * rate)

    given = optimizer if isinstance(optimizer, str) else make
    one, two = (player(optimizer=given).fit(LOG) for _ in range(2))
    same(one, two)
    other = player(optimizer=given, random_state=1).fit(LOG)
    assert not np.array_equal(one.predict_proba(NEW), other.predict_proba(NEW))


def test_fit_leaves_torch_alone(capsys):
    torch.manual_seed(3)
    state, dtype, threads = (
        torch.get_rng_state(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
    )
    mode = torch.is_grad_enabled()
    player(dtype="float32").fit(LOG)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == dtype
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled() == mode
    assert capsys.readouterr() == ("", "")


def test_copies_and_precision():
    fitted = player(dtype="float32").fit(LOG)
    same(pickle.loads(pickle.dumps(fitted)), fitted)
    same(copy.deepcopy(fitted), fitted)
    parameters = [*fitted.policy_.parameters(), *fitted.q_function_.parameters()]
    assert {p.dtype for p in parameters} == {torch.float32}
    assert not any(p.requires_grad for p in parameters)
    assert not [k for k in vars(clone(fitted)) if k.endswith("_") or k.startswith("_")]


def test_the_users_module_is_not_trained():
    module = Tower(2, 3)
    before = copy.deepcopy(module.state_dict())
    player(q_function=lambda n, m: module, max_iter=1).fit(LOG)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])


# ------------------------------------------------------------ to go on learning


@pytest.mark.parametrize("optimizer", ["gauss-newton", "adam"])
@pytest.mark.parametrize("log", [LOG, DOSES], ids=["labels", "amounts"])
def test_a_resumed_fit_is_one_fit(log, optimizer):
    settings = dict(optimizer=optimizer, leader_steps=2, follower_steps=2)
    whole = player(**settings, max_iter=5).fit(log)
    part = player(**settings, max_iter=2, warm_start=True).fit(log)
    part = pickle.loads(pickle.dumps(part))
    part.set_params(solver__max_iter=3).fit(log)
    same(part, whole)
    assert part.n_iter_ == whole.n_iter_ == 5


def test_partial_fits_are_one_fit():
    # A batch of 50 goes three times into 120 rows.
    whole = player(max_iter=6).fit(LOG)
    part = player()
    for _ in range(2):
        part.partial_fit(LOG)
    same(part, whole)


def test_chunks_of_a_log():
    chunks = [LOG[:63], LOG[63:]]  # whole episodes
    one, two = player(), player()
    for chunk in chunks * 2:
        one.partial_fit(chunk)
        two = pickle.loads(pickle.dumps(two.partial_fit(chunk)))
    same(one, two)
    assert one.n_iter_ == 8
    assert one.reward_scale_ == player().partial_fit(chunks[0]).reward_scale_


@pytest.mark.filterwarnings("ignore:Cut ep:UserWarning")
def test_a_chunk_that_lacks_a_label():
    policy = player().partial_fit(LOG).partial_fit(LOG[LOG.action < 2][:40])
    assert policy.predict_proba(NEW).shape == (len(NEW), 3)
    with pytest.raises(ValueError, match="lacks labels that the policy takes"):
        policy.score(LOG)
    assert np.isfinite(policy.partial_fit(LOG).score(LOG))


@pytest.mark.filterwarnings("error")
def test_a_part_leaves_nothing_undone():
    player().partial_fit(LOG)


def test_the_columns_stay_those_of_the_first_part():
    policy = player().partial_fit(LOG)
    narrow = changed(LOG, state=LOG.state[:, :1], next_state=LOG.next_state[:, :1])
    with pytest.raises(ValueError, match=r"has 1 features, but .* expecting 2"):
        policy.partial_fit(narrow)
    with pytest.raises(ValueError, match=r"has 1 features, but .* expecting 2"):
        policy.set_params(warm_start=True).fit(narrow)


def test_other_players_do_not_go_on():
    policy = player(warm_start=True).fit(LOG)
    with pytest.raises(ValueError, match=r"MLP\(.*are asked for now"):
        policy.set_params(policy=MLP((9,))).fit(LOG)

    class Other(Tower):
        pass

    towers = player(policy=Tower, warm_start=True).fit(LOG)
    with pytest.raises(ValueError, match="Other are asked for now"):
        towers.set_params(policy=Other).fit(LOG)


def test_defaults_reach_the_total_derivative():
    settings = dict(q_function="linear", policy="linear", solver="stochastic")
    total, individual = (
        player(**settings, max_iter=None, leader_gradient=gradient).fit(LOG)
        for gradient in ("total", "individual")
    )
    assert total.n_iter_ == 2 + 20
    assert not np.array_equal(total.predict_proba(NEW), individual.predict_proba(NEW))


def test_a_fit_begins_anew_without_warm_start():
    policy = player().fit(LOG)
    same(policy.fit(LOG), player().fit(LOG))
    assert policy.n_iter_ == 4


def test_a_warm_start_in_closed_form_climbs_on():
    few = dict(mirror_steps=3, max_iter=0)
    policy = estimator(**few, warm_start=True).fit(LOG)
    before = policy.policy_value_
    policy.fit(LOG)
    assert policy.policy_value_ > before
    with pytest.raises(ValueError, match="another solver than solver='stochastic'"):
        policy.set_params(solver="stochastic").fit(LOG)


def test_closed_forms_have_no_partial_fit():
    assert not hasattr(estimator(), "partial_fit")
    assert not hasattr(player(q_function="linear", policy="linear"), "partial_fit")
    assert hasattr(estimator(solver="stochastic"), "partial_fit")


# ------------------------------------------------------------ scikit-learn's tools


def test_a_search_reaches_inside():
    grid = {
        "stackelbergpolicyestimator__q_function__hidden_layer_sizes": [(4,), (3, 3)],
        "stackelbergpolicyestimator__solver__leader_learning_rate": [1e-3, 1e-2],
    }
    steps = make_pipeline(OnStates(StandardScaler()), player())
    search = GridSearchCV(
        steps, grid, cv=EpisodeKFold(2), scoring=FittedQScorer(), error_score="raise"
    ).fit(LOG)
    best = search.best_estimator_[-1]
    assert len(set(search.cv_results_["mean_test_score"])) == 4
    sizes = [p.shape[0] for p in best.q_function_.parameters() if p.ndim == 2]
    assert tuple(sizes[:-1]) == tuple(best.q_function.hidden_layer_sizes)
    assert SMALL.hidden_layer_sizes == (6,)


def test_history_tells_both_sides():
    history = player().fit(LOG).history_
    lengths = {len(values) for values in history.values()}
    assert len(lengths) == 1
    for name in (
        "value",
        "follower_objective",
        "bellman_error",
        "leader_gradient_norm",
        "follower_gradient_norm",
        "cg_residual",
        "seconds",
    ):
        assert np.isfinite(history[name]).any(), name


def test_the_equilibrium_is_measured(monkeypatch):
    monkeypatch.undo()
    played = player(q_function="linear", policy="linear", solver="stochastic").fit(LOG)
    assert not hasattr(played, "equilibrium_")
    found = played.measure_equilibrium(LOG)
    assert found.follower_smallest_curvature >= played.beta * (1 - 1e-6)
    assert found.follower_gradient_norm < 1e-3
    assert np.isfinite(found.leader_largest_curvature)
    assert "eigenvalue" in str(found)


def test_the_equilibrium_of_a_closed_form_is_measured_again():
    for log in (LOG, DOSES):
        policy = estimator(n_components=30, bandwidth="median").fit(log)
        assert policy.measure_equilibrium(log) == policy.equilibrium_


def test_a_callable_stops_the_turns():
    heard = []

    def enough(entry):
        heard.append(entry)
        return True

    policy = player(max_iter=50, callback=enough).fit(LOG)
    assert policy.n_iter_ < 50
    assert heard


# ------------------------------------------------------------ what goes wrong


class Backwards(nn.Linear):
    """Its derivatives have the wrong sign, so that no step lowers the objective."""

    def forward(self, x):
        value = super().forward(x)
        return value - 2.0 * value.detach()


def test_a_q_function_that_cannot_answer_is_named():
    words = "Q-function did not reach its best response .* Raise beta="
    with pytest.warns(ConvergenceWarning, match=words):
        player(q_function=Backwards).fit(LOG)


def test_divergence_keeps_the_last_good_players():
    wild = player(optimizer="sgd", learning_rate=1e6, max_iter=30)
    with pytest.warns(ConvergenceWarning, match="learning_rate"):
        wild.fit(LOG)
    assert np.isfinite(wild.predict_proba(NEW)).all()
    assert np.isfinite(wild.q_values(NEW)).all()


class Empty(nn.Module):
    def __init__(self, *sizes):
        super().__init__()

    def forward(self, x):
        return x


class Elsewhere(Tower):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("away", torch.zeros(1, device="meta"))


BAD = {
    "wrong shape": (dict(q_function=lambda n, m: nn.Linear(n, m + 1)), "q_function"),
    "no parameters": (dict(policy=Empty), "policy.*without parameters"),
    "another device": (dict(policy=Elsewhere), "policy.*meta"),
    "NaN": (
        dict(policy=lambda n, m: nn.utils.parametrizations.weight_norm(zero(n, m))),
        "policy.*(NaN|finite)",
    ),
    "closed form": (
        dict(solver="closed_form"),
        "q_function and policy are networks: its best response is no linear system",
    ),
    "one network": (
        dict(solver="closed_form", q_function="kernel"),
        "policy is a network",
    ),
    "two kinds": (
        dict(solver="closed_form", q_function="kernel", policy="linear"),
        "both players in the same features",
    ),
    "ridge": (dict(ridge=1e-3), "ridge=0.001 is for a Q-function that is linear"),
    "no such optimizer": (dict(optimizer="newton"), "optimizer must be"),
    "activation": (dict(policy=MLP(activation="step")), "activation must be one of"),
    "sizes": (dict(policy=MLP((0,))), "hidden_layer_sizes must be positive"),
}


def zero(n, m):
    layer = nn.Linear(n, m)
    nn.init.zeros_(layer.weight)
    return layer


@pytest.mark.parametrize("case", BAD)
def test_refused_in_a_sentence(case):
    settings, words = BAD[case]
    policy = player(**settings)
    with pytest.raises(ValueError, match=words):
        policy.fit(LOG)
    assert not [name for name in vars(policy) if name.endswith("_")]


def test_a_module_is_no_factory():
    with pytest.raises(ValueError, match="policy is a module, a Tower, which a fit"):
        player(policy=Tower(2, 3)).fit(LOG)


def test_new_labels_are_refused_while_learning_goes_on():
    policy = player().partial_fit(LOG)
    more = changed(LOG, action=LOG.action + 1)
    with pytest.raises(
        ValueError, match=r"not begun with: \[3\]; it knows \[0, 1, 2\]"
    ):
        policy.partial_fit(more)
    doser = player().partial_fit(DOSES)
    with pytest.raises(ValueError, match="outside action_bounds"):
        doser.partial_fit(changed(DOSES, action=2.0 * DOSES.action))


def test_a_batch_larger_than_the_log():
    same(player(batch_size=10**6).fit(LOG), player(batch_size=len(LOG)).fit(LOG))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there():
    with pytest.raises(ValueError, match="torch finds no GPU here"):
        player(device="cuda").fit(LOG)
    same(player(device="auto").fit(LOG), player(device="cpu").fit(LOG))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("log", [LOG, DOSES], ids=["labels", "amounts"])
def test_what_is_fitted_on_a_gpu_opens_without_one(log):
    fitted = player(device="cuda").fit(log)
    tensors = [*fitted.policy_.state_dict().values()]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
    same(pickle.loads(pickle.dumps(fitted)), fitted)
    here = player(device="cpu").fit(log)
    assert_allclose(fitted.policy_value_, here.policy_value_, rtol=0.05)
