"""The pages for contributors: they quote the source, and each is followed once.

``python tests/test_contributing.py`` writes the source anew into the pages.
"""

from __future__ import annotations

import doctest
import functools
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.gaussian_process.kernels import RationalQuadratic
from sklearn.model_selection import GridSearchCV

from sklearn_stackelberg import EpisodeKFold, StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.datasets import FiniteMDP
from sklearn_stackelberg.kernels._registry import KERNELS
from sklearn_stackelberg.policies._base import CONTINUOUS_POLICIES
from sklearn_stackelberg.solvers import ClosedForm, Stochastic

# Fits by the dozen: some minutes of a processor in all.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "contributing"
PAGES = sorted(FOLDER.glob("*.md"))
# A comment that names the object, and the block that quotes it.
QUOTED = re.compile(r"(<!-- source: (\S+) -->\n```python\n)(.*?)(?=```\n)", re.DOTALL)


def source(name: str) -> str:
    """What a page quotes: a class, a function, or a module's constant."""
    return inspect.getsource(pkgutil.resolve_name(name))


# Of a page's examples, those that define what it adds. Doctest runs them all, with the
# fits, and compares what they print.
DEFINES = ("import ", "from ", "def ", "class ", "record ", "del ")


@functools.cache
def follow(page: str) -> dict[str, object]:
    """The names that a page's examples define."""
    names: dict[str, object] = {}
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    for example in doctest.DocTestParser().get_examples(text):
        if example.source.startswith(DEFINES):
            exec(compile(example.source, f"{page}.md", "single"), names)
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_quotes_the_source_word_for_word(page):
    quoted = QUOTED.findall(page.read_text(encoding="utf-8"))
    assert quoted
    for _, name, text in quoted:
        assert text == source(name), f"{name}: python tests/test_contributing.py"


@pytest.mark.parametrize(
    "page", [ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda page: page.name
)
def test_a_page_names_files_that_are_there(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"[\w/]+/[\w/]+\.py", text)
    linked = re.findall(r"\]\(([^)]+\.md)\)", text)
    assert named or linked
    for name in named:
        if not name.endswith("/_new.py"):
            inside = ROOT / "sklearn_stackelberg" / name
            assert (ROOT / name).exists() or inside.exists(), name
    for name in linked:
        assert (page.parent / name).exists(), name


# What a page makes is added, as it says, and used.


@pytest.fixture(scope="module")
def log():
    """A state on a line, which the action moves; the middle pays."""
    rng = np.random.default_rng(0)
    state, rows = 0.0, []
    for step in range(240):
        if step % 12 == 0:
            state = rng.uniform(-1.0, 1.0)
        action = rng.choice([-1.0, 0.0, 1.0])
        after = float(np.clip(state + 0.3 * action, -1.0, 1.0))
        rows.append((state, action, -abs(after), after))
        state = after
    state, action, reward, after = np.array(rows).T
    return Transitions(
        state[:, None],
        action,
        reward,
        after[:, None],
        episode=np.arange(240) // 12,
        step=np.arange(240) % 12,
    )


def estimator(**settings):
    defaults = dict(discount=0.8, lam=3.0, n_components=20, random_state=0)
    return StackelbergPolicyEstimator(**defaults | settings)


def is_drawn_to_the_middle(policy):
    left, right = policy.predict(np.array([[-0.9], [0.9]])).ravel()
    return left > 0.0 > right


CONTINUOUS = [
    dict(action_type="continuous"),
    dict(action_type="continuous", action_distribution="gaussian"),
]


@pytest.mark.parametrize("actions", [dict(action_type="discrete"), *CONTINUOUS])
def test_a_kernel(log, actions, monkeypatch):
    record = follow("kernel")["record"]
    monkeypatch.setitem(KERNELS, "rational_quadratic", record)
    policy = estimator(kernel="rational_quadratic", **actions).fit(log)
    assert is_drawn_to_the_middle(policy)
    # 1 / (1 + |x|² / 2h²) is scikit-learn's with α = 1.
    x = log.state[:5]
    h = policy.bandwidth_[0]
    wanted = RationalQuadratic(length_scale=h, alpha=1.0)(x)
    np.testing.assert_allclose(record.function(x / h, x / h, gamma=0.5), wanted)
    given = torch.from_numpy(x / h)
    np.testing.assert_allclose(record.form(given, given, gamma=0.5), wanted)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "solver",
    [
        ClosedForm(),
        pytest.param(Stochastic(mirror_steps=15, max_iter=15), marks=pytest.mark.slow),
    ],
)
def test_a_policy_class(log, solver, monkeypatch):
    OneWidth = follow("policy")["OneWidth"]
    monkeypatch.setitem(CONTINUOUS_POLICIES, "one-width", OneWidth)
    policy = estimator(
        action_type="continuous", action_distribution="one-width", solver=solver
    ).fit(log)
    assert isinstance(policy.policy_, OneWidth)
    assert is_drawn_to_the_middle(policy)
    low, high = policy.action_bounds_
    drawn = policy.sample(np.repeat(log.state, 50, axis=0), random_state=0)
    assert low[0] <= drawn.min() < drawn.max() <= high[0]
    nodes, weights = policy.action_nodes(log.state)
    mean = (nodes[..., 0] * weights).sum(axis=1)
    np.testing.assert_allclose(drawn.reshape(-1, 50).mean(axis=1), mean, atol=0.15)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "action_type", ["discrete", pytest.param("continuous", marks=pytest.mark.slow)]
)
@pytest.mark.usefixtures("short_response")
def test_a_q_function(log, action_type):
    names = follow("q_function")
    policy = estimator(
        action_type=action_type,
        q_function=names["DuelingNetwork"](),
        solver=Stochastic(mirror_steps=10, max_iter=10),
    ).set_params(q_function__n_units=16)
    policy = clone(policy).fit(log)
    assert isinstance(policy.q_function_, names["Dueling"])
    assert policy.q_function_.value.in_features == 16
    assert is_drawn_to_the_middle(policy)


def test_an_estimate():
    names = follow("estimate")
    matched_reward_value = names["matched_reward_value"]
    # Two states that no action changes, and an action that pays in each.
    transition = np.zeros((2, 2, 2))
    transition[0, :, 0] = transition[1, :, 1] = 1.0
    reward = np.array([[1.0, 0.0], [0.2, 0.6]])
    mdp = FiniteMDP(transition, reward, initial=[0.5, 0.5])
    log = mdp.sample(np.full((2, 2), 0.5), 600, horizon=2, random_state=0)
    policy = estimator(kernel="delta", n_components=None).fit(log)
    found = matched_reward_value(policy, log, discount=0.8)
    truth = mdp.policy_value(policy.predict_proba([[0], [1]]), discount=0.8)
    assert abs(found.value - truth) < 4.0 * found.standard_error
    search = GridSearchCV(
        clone(policy),
        {"lam": [0.1, 10.0]},
        scoring=names["scorer"],
        cv=EpisodeKFold(2),
    ).fit(log)
    best = search.best_estimator_.predict([[0], [1]])
    assert best.tolist() == [0, 1]


@pytest.mark.parametrize("actions", [dict(action_type="discrete"), CONTINUOUS[0]])
def test_a_solver(log, actions):
    GradientAscent = follow("solver")["GradientAscent"]
    exact, uniform, found = (
        estimator(discount=0.5, beta=0.1, solver=solver, **actions).fit(log)
        for solver in (
            ClosedForm(max_iter=200, tol=1e-6),
            GradientAscent(steps=1),
            GradientAscent(steps=100),
        )
    )
    gain = found.policy_value_ - uniform.policy_value_
    possible = exact.policy_value_ - uniform.policy_value_
    assert 0.95 * possible < gain < 1.001 * possible
    assert is_drawn_to_the_middle(found)


def test_a_solver_is_tuned_stopped_and_gone_on_with(log):
    GradientAscent = follow("solver")["GradientAscent"]
    policy = estimator(solver=GradientAscent(steps=2), action_type="discrete")
    search = GridSearchCV(
        policy, {"solver__steps": [1, 40]}, cv=EpisodeKFold(2), scoring=value_at_the_end
    ).fit(log)
    assert search.best_params_ == {"solver__steps": 40}
    stopped = clone(policy).set_params(callback=lambda entry: True, solver__steps=5)
    assert stopped.fit(log).n_iter_ == 1
    policy.set_params(warm_start=True).fit(log)
    before = policy.policy_value_
    assert policy.fit(log).policy_value_ > before
    with pytest.raises(ValueError, match="GradientAscent needs a Q-function"):
        clone(policy).set_params(q_function="mlp").fit(log)


def value_at_the_end(policy, X, y=None):
    return policy.policy_value_


def write_sources() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        new = QUOTED.sub(lambda found: found[1] + source(found[2]), text)
        if new != text:
            page.write_text(new, encoding="utf-8")
            print(f"{page.name} has the source as it is now")


if __name__ == "__main__":
    write_sources()
