"""Logs of Minari and D4RL: the same log whichever way it comes."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_stackelberg import Transitions
from sklearn_stackelberg.transitions._tables import FIELDS

LENGTHS, ENDED = (4, 1, 3, 5), (True, False, False, True)


def assert_same(left, right):
    """Same values, types and counts in every field."""
    for name in FIELDS:
        a, b = getattr(left, name, None), getattr(right, name, None)
        assert (a is None) == (b is None), name
        if a is not None:
            assert_array_equal(np.asarray(a), np.asarray(b), err_msg=name)
            assert np.asarray(a).dtype == np.asarray(b).dtype, name
    assert left.left_out == right.left_out


def lists(discrete=True):
    rng = np.random.default_rng(0)
    seen = [rng.normal(size=(n + 1, 2)) for n in LENGTHS]
    if discrete:
        actions = [rng.integers(3, size=n) for n in LENGTHS]
    else:
        actions = [rng.normal(size=(n, 2)) for n in LENGTHS]
    return seen, actions, [rng.normal(size=n) for n in LENGTHS]


def make_log(discrete=True):
    return Transitions.from_episodes(*lists(discrete), ENDED)


def d4rl(discrete=True, following=True):
    seen, actions, rewards = lists(discrete)
    last = [np.arange(n) == n - 1 for n in LENGTHS]
    flags = [[end & is_last for is_last in part] for part, end in zip(last, ENDED)]  # noqa: B905
    cuts = [[~end & is_last for is_last in part] for part, end in zip(last, ENDED)]  # noqa: B905
    data = {
        "observations": np.vstack([s[:-1] for s in seen]),
        "actions": np.concatenate(actions),
        "rewards": np.concatenate(rewards)[:, None],
        "terminals": np.concatenate(flags).astype(np.uint8),
        "timeouts": np.concatenate(cuts).astype(bool),
    }
    if following:
        data["next_observations"] = np.vstack([s[1:] for s in seen])
    return data


def episodes(discrete=True):
    for k, (seen, actions, rewards) in enumerate(zip(*lists(discrete), strict=True)):
        last = np.arange(LENGTHS[k]) == LENGTHS[k] - 1
        yield SimpleNamespace(
            id=k,
            observations=seen,
            actions=actions,
            rewards=rewards,
            terminations=last & ENDED[k],
            truncations=last & (not ENDED[k]),
            infos={},
        )


# ------------------------------------------------------------------ D4RL


@pytest.mark.parametrize("discrete", [True, False])
def test_a_d4rl_dictionary_is_the_same_log(discrete):
    assert_same(Transitions.from_d4rl(d4rl(discrete)), make_log(discrete))


def test_next_observations_say_where_episodes_were_cut():
    data = d4rl()
    del data["timeouts"]
    assert_same(Transitions.from_d4rl(data), make_log())


def test_without_next_observations_it_is_the_table_of_its_rows():
    data = d4rl(following=False)
    table = pd.DataFrame(data["observations"], columns=["x", "y"])
    table["episode"] = np.repeat(np.arange(4), LENGTHS)
    table["step"] = np.concatenate([np.arange(n) for n in LENGTHS])
    table["action"], table["reward"] = data["actions"], data["rewards"][:, 0]
    table["terminated"] = data["terminals"].astype(bool)
    roles = {n: n for n in ("action", "reward", "episode", "step", "terminated")}
    same = Transitions.from_frame(table, state=["x", "y"], **roles)
    log = Transitions.from_d4rl(data)
    assert_same(log, same)
    assert log.n_left_out == 2  # two episodes were cut by time


def test_a_row_that_is_terminal_and_timed_out_is_terminated():
    data = d4rl()
    data["timeouts"] = data["timeouts"] | data["terminals"].astype(bool)
    assert_same(Transitions.from_d4rl(data), make_log())


def test_an_hdf5_file_is_its_dictionary(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py, which reads HDF5, is optional")
    data = d4rl()
    with h5py.File(tmp_path / "log.hdf5", "w") as file:
        for key, values in data.items():
            file[key] = values
        file["infos/qpos"] = np.zeros((13, 5))
    for path in (tmp_path / "log.hdf5", str(tmp_path / "log.hdf5")):
        assert_same(Transitions.from_d4rl(path), make_log())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"terminals": None}, "have no terminals"),
        ({"timeouts": None, "next_observations": None}, "neither timeouts nor next_"),
        ({"rewards": np.zeros(3)}, "different lengths"),
        ({"timeouts": np.full(13, 2)}, "timeouts"),
    ],
)
def test_d4rl_data_that_say_too_little_are_refused(change, sentence):
    data = {k: v for k, v in (d4rl() | change).items() if v is not None}
    with pytest.raises(ValueError, match=sentence):
        Transitions.from_d4rl(data)


def test_rows_that_are_all_cut_are_refused():
    data = d4rl(following=False) | {"timeouts": np.ones(13), "terminals": np.zeros(13)}
    with pytest.raises(ValueError, match="no row has a next state"):
        Transitions.from_d4rl(data)


def test_d4rl_takes_a_dictionary_or_a_path():
    with pytest.raises(TypeError, match="got a list"):
        Transitions.from_d4rl([1, 2])


# ---------------------------------------------------------------- Minari

# Its advice to describe a data set that is to be published.
quiet = pytest.mark.filterwarnings(
    "ignore:(`.*` is set to|.*env_spec is) None:UserWarning"
)


@pytest.mark.parametrize("discrete", [True, False])
def test_episodes_of_minari_are_the_same_log(discrete):
    assert_same(Transitions.from_minari(episodes(discrete)), make_log(discrete))


def test_parts_of_observations_stand_side_by_side():
    parts = list(episodes())
    for part in parts:
        x, y = part.observations.T
        part.observations = {"x": x, "more": (y[:, None],)}
    assert_same(Transitions.from_minari(parts), make_log())


def test_episodes_keep_their_numbers_where_they_are_distinct():
    chosen = [episode for episode in episodes() if episode.id in (1, 3)]
    assert np.unique(Transitions.from_minari(chosen).episode).tolist() == [1, 3]
    for episode in chosen:
        episode.id = 0
    assert np.unique(Transitions.from_minari(chosen).episode).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"terminations": [True, False, False, False]}, ValueError, "goes on after"),
        ({"actions": {"a": np.zeros(4)}}, ValueError, "a dict of several parts"),
        ({"observations": ["text"] * 5}, ValueError, "Texts need an encoding"),
    ],
)
def test_episodes_that_are_no_log_are_refused(change, error, sentence):
    first = next(episodes())
    vars(first).update(change)
    with pytest.raises(error, match=sentence):
        Transitions.from_minari([first])


def test_a_dataset_of_something_else_is_refused():
    with pytest.raises(TypeError, match=r"Entry 0 of the dataset is a int"):
        Transitions.from_minari([1, 2])
    with pytest.raises(ValueError, match="no episodes"):
        Transitions.from_minari([])


@pytest.fixture
def minari(tmp_path, monkeypatch):
    for name in ("minari", "h5py"):
        pytest.importorskip(name, reason="Minari with its HDF5 storage is optional")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    import minari

    return minari


@quiet
@pytest.mark.parametrize("discrete", [True, False])
def test_a_dataset_of_minari_is_read_back(minari, discrete):
    log = make_log(discrete)
    dataset = log.to_minari("test/log-v0", description="made up")
    assert (dataset.total_episodes, dataset.total_steps) == (4, 13)
    assert_same(Transitions.from_minari(dataset), log)
    assert_same(Transitions.from_minari(minari.load_dataset("test/log-v0")), log)


@quiet
def test_propensities_go_along_and_come_back(minari):
    log = make_log()
    log.propensity = np.linspace(0.1, 1, len(log))
    assert_same(Transitions.from_minari(log.to_minari("test/known-v0")), log)


@quiet
def test_finite_states_stay_integers(minari):
    states = [np.arange(n + 1)[:, None] for n in LENGTHS]
    log = Transitions.from_episodes(states, *lists()[1:], ENDED)
    assert_same(Transitions.from_minari(log.to_minari("test/finite-v0")), log)


@quiet
def test_an_environments_dataset_is_read(minari):
    gymnasium = pytest.importorskip("gymnasium")
    from minari import DataCollector

    pytest.importorskip("jax", reason="Minari's own collector needs jax")
    env = DataCollector(gymnasium.make("CartPole-v1"))
    env.reset(seed=0)
    for _ in range(50):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
    log = Transitions.from_minari(env.create_dataset("test/cartpole-v0"))
    assert log.shape == (50, 4)


@quiet
def test_what_minari_has_no_place_for_is_named(minari):
    log = Transitions.from_frame(make_log().to_frame(), **ROLES)
    with pytest.warns(UserWarning, match="no place for the names of the columns"):
        log.to_minari("test/named-v0")


ROLES = {"state": ["state_0", "state_1"]} | {
    name: name for name in ("action", "reward", "episode", "step", "terminated")
}


def test_logs_that_are_no_dataset_are_refused(minari):
    log = make_log()
    with pytest.raises(ValueError, match="the log has none"):
        Transitions(log.state, log.action, log.reward, log.next_state).to_minari("a-v0")
    with pytest.raises(ValueError, match=r"do not go on .* row 2\b"):
        log[[0, 1, 3, 4]].to_minari("a-v0")
    named = Transitions(
        log.state, log.action.astype(str), log.reward, log.next_state, episode=log.step
    )
    with pytest.raises(ValueError, match="Minari keeps numbers"):
        named.to_minari("a-v0")


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("h5py", lambda log: Transitions.from_d4rl("log.hdf5")),
        ("minari", lambda log: log.to_minari("a-v0")),
    ],
)
def test_what_is_not_installed_is_named(name, call, monkeypatch):
    log = Transitions([[0]], [1], [0], [[1]], episode=[0])
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install"):
        call(log)
