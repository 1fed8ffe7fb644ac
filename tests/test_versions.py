"""What a report of an error says of where it occurred."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from sklearn_stackelberg import __version__, show_versions
from sklearn_stackelberg._versions import DEPENDENCIES, OPTIONAL

PROJECT = tomllib.loads(
    (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
)["project"]


def test_versions_are_printed(capsys):
    show_versions()
    printed = capsys.readouterr().out
    assert f"sklearn-stackelberg: {__version__}\n" in printed
    for name in (*DEPENDENCIES, *OPTIONAL, "python", "machine", "torch threads"):
        assert re.search(rf"^ *{name}: \S", printed, re.M), name


def test_every_dependency_is_printed():
    names = [re.split(r"[<>=\[]", line)[0] for line in PROJECT["dependencies"]]
    assert sorted(names) == sorted(DEPENDENCIES)
    extras = PROJECT["optional-dependencies"]
    used = {*extras["datasets"], *extras["formats"], *extras["examples"]}
    assert {re.split(r"[<>=\[]", line)[0] for line in used} <= {*OPTIONAL}
