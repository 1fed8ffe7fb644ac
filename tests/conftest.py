"""Settings of every test, made before numpy and matplotlib are imported."""

from __future__ import annotations

import os
import pkgutil
import sys
import warnings

import pytest
from hypothesis import settings

# scikit-learn checks an estimator's array API conformance only when asked so.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# The tests' logs are small: more threads than one only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Time says more about a busy machine than about the code; failures are repeatable. The
# same examples every time: more of them would be looked at again and again.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, max_examples=30
)
settings.load_profile("repeatable")


def _shrink(patch):
    """Few trees, few weights of evaluators, few products with D²v at the end of a fit.

    They are most of a small fit's time.
    """
    # By their names: coverage is to see the package being imported.
    support = "sklearn_stackelberg._fitting.support."
    patch.setattr(support + "_TREES", 3)
    patch.setattr(support + "_TRIED_TREES", 1)
    patch.setattr(support + "_LEAVES", (5, 25))
    patch.setattr("sklearn_stackelberg._problem.state_anchor._TREES", 3)
    patch.setattr("sklearn_stackelberg.metrics._holdout._WEIGHTS", 90)
    measure = pkgutil.resolve_name(
        "sklearn_stackelberg.equilibrium.measure_equilibrium"
    )
    patch.setitem(measure.__kwdefaults__, "lanczos_steps", 2)


@pytest.fixture(autouse=True, scope="session")
def codes_of_warnings():
    """Whatever the package warns of has a code of docs/pitfalls.md."""
    warn = warnings.warn

    def coded(message, category=None, stacklevel=1, source=None, **settings):
        module = sys._getframe(1).f_globals.get("__name__", "")
        if module.startswith("sklearn_stackelberg."):
            assert "[pitfalls: " in str(message), message
        warn(message, category, stacklevel + 1, source, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warnings, "warn", coded)
        yield


@pytest.fixture(autouse=True, scope="module")
def small_fits():
    """Cheap fits, for what does not depend on how good they are."""
    with pytest.MonkeyPatch.context() as patch:
        _shrink(patch)
        yield patch


@pytest.fixture
def full_fits(small_fits):
    """Fits as users have them, for tests of what they find."""
    small_fits.undo()
    yield
    _shrink(small_fits)


@pytest.fixture
def short_response(monkeypatch):
    """Stochastic fits of short mirror steps, linear systems and last responses.

    They are most of their time. For tests that compare one fit with another;
    `monkeypatch.undo()` lets the best response be found.
    """
    stochastic = "sklearn_stackelberg.solvers._stochastic."
    mirror = "sklearn_stackelberg.solvers._mirror_descent."
    monkeypatch.setattr(mirror + "_FITS", 5)
    monkeypatch.setattr(stochastic + "_RESPONSE_STEPS", 2)
    monkeypatch.setattr(stochastic + "Stochastic._cg_steps", 5)
    monkeypatch.setattr(stochastic + "Stochastic._LINEAR_CG_STEPS", 20)


@pytest.fixture
def threads():
    """Set how many threads torch has, for one test."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
