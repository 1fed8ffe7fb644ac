"""Tables that other packages ship: read where they lie, never downloaded."""

from __future__ import annotations

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType


def installed_file(package: str, path: str, install: str, loader: str) -> Path:
    """Return the path of a file in a package, which is not imported.

    Some cannot be: they name older versions of numpy or setuptools than run here, and
    their tables are plain files that need none of their code.
    """
    try:
        spec = find_spec(package)
    except ValueError:  # an entry of sys.modules that is no module, or None
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            f"{loader} reads a table that the package {package} ships, and it is not "
            f"installed: {install}"
        )
    file = Path(next(iter(spec.submodule_search_locations)), *path.split("/"))
    if not file.exists():
        raise ImportError(
            f"{loader} expects the file {path} in the installed package {package}, and "
            f"it is not there. Install the version that has it: {install}"
        )
    return file


def describe(name: str) -> str:
    """Return the description of a data set, as reStructuredText."""
    # By importlib: the package may lie in an archive.
    table = files("sklearn_stackelberg") / "data" / f"{name}.rst"
    return table.read_text(encoding="utf-8")


def pandas_for(loader: str) -> ModuleType:
    """Return pandas, or say who needs it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"{loader} needs pandas to read its table: pip install pandas"
        ) from error
    return pandas
