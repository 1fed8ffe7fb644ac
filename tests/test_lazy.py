"""What a package exports is imported when it is asked for, torch last of all."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys

import pytest

import sklearn_stackelberg
from benchmarks.house import PACKAGE, read

LAZY = {
    name: source
    for name, source in read(PACKAGE).items()
    if source.path.name == "__init__.py" and "lazy_exports" in source.text
}


def run(code):
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_the_package_alone_imports_nothing_heavy():
    run(
        "import sys, sklearn_stackelberg\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'gymnasium', 'scipy', 'sklearn'}\n"
        "assert not heavy & {*sys.modules}, heavy & {*sys.modules}\n"
    )


def test_a_search_is_set_up_without_torch():
    run(
        "import sys\n"
        "from sklearn.base import clone\n"
        "from sklearn.model_selection import GridSearchCV\n"
        "from sklearn_stackelberg import *\n"
        "from sklearn_stackelberg.datasets import FiniteMDP, load_glucose\n"
        "from sklearn_stackelberg.baselines import BehaviourCloning\n"
        "log = Transitions([[0.0], [1.0]], [0, 1], [0.0, 1.0], [[1.0], [1.0]])\n"
        "policy = clone(StackelbergPolicyEstimator(lam=1.0)).set_params(beta=0.2)\n"
        "repr(GridSearchCV(policy, {'lam': [0.1, 1.0]}, cv=EpisodeKFold(2)))\n"
        "repr(StackelbergPolicyCV(policy))\n"
        "heavy = {'torch', 'matplotlib', 'gymnasium', 'd3rlpy'}\n"
        "assert not heavy & {*sys.modules}, heavy & {*sys.modules}\n"
    )


@pytest.mark.parametrize("source", LAZY.values(), ids=LAZY)
def test_types_and_values_have_the_same_names(source):
    package = importlib.import_module(source.name)
    checked = next(node for node in source.tree.body if isinstance(node, ast.If))
    assert ast.unparse(checked.test) == "TYPE_CHECKING"
    imported = {
        alias.name: f"{source.name}.{node.module}"
        for node in checked.body
        for alias in node.names
    }
    assert sorted(imported) == sorted(package.__all__)
    assert {*imported} <= {*dir(package)}
    for name, module in imported.items():
        value = getattr(importlib.import_module(module), name)
        assert getattr(package, name) is value
        assert value.__module__ == module


def test_modules_are_attributes_and_other_names_are_refused():
    assert sklearn_stackelberg.metrics.fitted_q_value.__name__ == "fitted_q_value"
    assert {"metrics", "networks"} <= {*dir(sklearn_stackelberg)}
    assert "_lazy" not in sklearn_stackelberg.__all__
    with pytest.raises(AttributeError, match="no attribute 'Transition'"):
        sklearn_stackelberg.Transition  # noqa: B018
