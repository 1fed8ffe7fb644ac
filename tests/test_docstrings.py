"""Public docstrings are numpydoc's, entry by entry as the code has them."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil

import pytest
from numpydoc.validate import validate

import sklearn_stackelberg

# The checks of numpydoc.validate that apply, with their messages in ERROR_MSGS. Of the
# others, GL01 and GL02 (where quotes stand) are ruff's, and these contradict the house:
#   SS02, SS05, PR08, RT04  A summary or an entry may open with a symbol of the
#                           equations, an argument's own name or a plural noun.
#   PR03, PR04              Arguments that several functions share are one entry
#                           without a type, "As in `fitted_q_value`."
#   PR07, RT02, RT03        A name and a type with its shape may be all there is to say.
#   ES01, SA01              So may a summary. docs/index.md says what belongs together.
EVERYWHERE = frozenset(
    [
        *("GL03", "GL05", "GL06", "GL07", "GL08", "GL09", "GL10"),
        *("SS01", "SS03", "SS04", "SS06"),
        *("PR01", "PR02", "PR05", "PR06", "PR09", "PR10"),
        *("RT01", "RT05", "YD01", "SA02", "SA03", "SA04"),
    ]
)
# What a user calls is shown at work. Methods are, by their class, and records, by what
# returns them.
SHOWN = EVERYWHERE | {"EX01"}


def public_modules():
    package = sklearn_stackelberg
    yield package
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            yield importlib.import_module(info.name)


def overrides(cls, name):
    """Whether a base class of ours, or torch, already says what the method is."""
    bases = [base for base in cls.__mro__[1:] if name in vars(base)]
    return any(
        base.__module__.split(".")[0] in ("sklearn_stackelberg", "torch")
        for base in bases
    )


def public_methods(cls):
    """Names of what the package itself gives the class first, by whichever base."""
    for name, member in inspect.getmembers(cls):
        # What it overrides is documented once, where contributors read it.
        if overrides(cls, name):
            continue
        function = member.fget if isinstance(member, property) else member
        module = getattr(inspect.unwrap(function), "__module__", None) or ""
        if (
            not name.startswith("_")
            and (inspect.isroutine(member) or isinstance(member, property))
            and module.startswith(sklearn_stackelberg.__name__)
        ):
            yield name


def public_objects():
    """Dotted names, each object under the first name that leads to it."""
    seen = set()
    for module in public_modules():
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if id(value) in seen or not callable(value):
                continue
            seen.add(id(value))
            path = f"{module.__name__}.{name}"
            # A protocol is what contributors read as it stands: docs/contributing.
            if getattr(value, "_is_protocol", False):
                continue
            is_record = dataclasses.is_dataclass(value) or (
                inspect.isclass(value) and issubclass(value, tuple)
            )
            checks = EVERYWHERE if is_record else SHOWN
            yield pytest.param(path, checks, id=path)
            if inspect.isclass(value):
                for method in public_methods(value):
                    path_of_method = f"{path}.{method}"
                    yield pytest.param(path_of_method, EVERYWHERE, id=path_of_method)


@pytest.mark.parametrize(("path", "checks"), list(public_objects()))
def test_numpydoc(path, checks):
    errors = [
        f"{code}: {message}"
        for code, message in validate(path)["errors"]
        if code in checks
    ]
    assert not errors, f"{path}\n" + "\n".join(errors)
