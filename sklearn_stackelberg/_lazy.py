"""Names of a package that are imported when they are first asked for (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from pkgutil import iter_modules


def lazy_exports(
    package: str, exports: Mapping[str, Collection[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` of a package, its public modules included.

    ``exports`` are modules below the package, and the names that each one defines.
    torch takes longer to import than all else, and few programs use every part.
    """
    homes = {name: home for home, names in exports.items() for name in names}

    def public_modules() -> set[str]:
        found = {info.name for info in iter_modules(sys.modules[package].__path__)}
        return {name for name in found if not name.startswith("_")}

    def __getattr__(name: str) -> object:
        value: object
        if name in homes:
            value = getattr(import_module(f"{package}.{homes[name]}"), name)
        # Python asks every package for names such as __path__ and __wrapped__.
        elif not name.startswith("_") and name in public_modules():
            value = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        # Found there from now on, without this function.
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes, *public_modules()})

    return __getattr__, __dir__
