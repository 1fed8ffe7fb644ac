"""What is written down twice about the project says the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import sklearn_stackelberg

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pins(name):
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_one_version():
    # Where these differ, the package was installed before its version changed.
    assert sklearn_stackelberg.__version__ == PROJECT["version"]


def test_the_citation_has_the_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.*)$", citation, re.M) == [PROJECT["version"]]


def test_the_changelog_has_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{PROJECT['version']}]" in changelog


@pytest.mark.parametrize(
    "requirement",
    [
        *PROJECT["dependencies"],
        *(each for extra in ("test", "examples", "docs") for each in EXTRAS[extra]),
    ],
)
def test_every_requirement_is_pinned(requirement):
    assert re.split("[<>=]", requirement)[0] in pins("constraints.txt")


def test_the_oldest_versions_that_are_allowed_are_tested():
    floors = [
        re.fullmatch(r"([\w-]+)>=([\d.]+)(,<.*)?", requirement)
        for requirement in [*PROJECT["dependencies"], *EXTRAS["examples"]]
    ]
    oldest = pins("constraints-oldest.txt")
    for name, floor in (found.groups()[:2] for found in floors if found):
        assert oldest[name].startswith(floor), name
