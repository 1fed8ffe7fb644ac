"""The environment that the benchmarks run in: their own, and single-threaded.

Imports nothing but the standard library: it runs before the environment is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
VENV = FOLDER / ".venv"
# Set where the interpreter and its threads are already as they should be.
READY = "SKLEARN_STACKELBERG_BENCHMARKS_READY"
# Set by a user who wants the current interpreter.
HERE = "SKLEARN_STACKELBERG_BENCHMARKS_HERE"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def threads(number: int) -> dict[str, str]:
    """The process environment with that many threads for matrix products."""
    return {**os.environ, **dict.fromkeys(THREADS, str(number))}


def run_module(
    module: str, *given: object, n_threads: int = 1, first: Any = None
) -> dict[str, Any]:
    """The last line that a module of ours prints, as JSON, from a fresh process.

    ``first`` is called there before all else, to limit what it may use.
    """
    finished = subprocess.run(
        [sys.executable, "-m", module, *map(str, given)],
        env=threads(n_threads),
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=first,
    )
    if finished.returncode:
        raise RuntimeError(f"{module} {given} failed:\n{finished.stderr}")
    return json.loads(finished.stdout.splitlines()[-1])


def _wanted() -> str:
    """A digest of what the environment must hold."""
    files = (
        FOLDER / "requirements.txt",
        FOLDER / "constraints.txt",
        ROOT / "pyproject.toml",
    )
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def interpreter() -> Path:
    """The interpreter of the benchmarks' own environment, made where it is missing."""
    binaries = "Scripts" if os.name == "nt" else "bin"
    python = VENV / binaries / "python"
    stamp = VENV / "installed"
    if stamp.exists() and stamp.read_text() == _wanted():
        return python
    print(f"Setting up {VENV.relative_to(ROOT)}; this takes minutes, once.", flush=True)
    venv.EnvBuilder(with_pip=True, clear=True).create(VENV)
    install = [str(python), "-m", "pip", "install", "--quiet"]
    constrain = ["--constraint", str(FOLDER / "constraints.txt")]
    wanted = ["--requirement", str(FOLDER / "requirements.txt")]
    # One call, so that the package's needs and d3rlpy's pins are resolved together.
    subprocess.run([*install, *constrain, *wanted, "--editable", str(ROOT)], check=True)
    stamp.write_text(_wanted())
    return python


def enter(arguments: list[str], here: bool) -> None:
    """Start the benchmarks again where they belong, unless they are there already.

    Parameters
    ----------
    arguments : list of str
        Of ``python -m benchmarks``.
    here : bool
        Keep the current interpreter and only see to the threads.
    """
    if os.environ.get(READY):
        return
    here = here or bool(os.environ.get(HERE))
    python = sys.executable if here else str(interpreter())
    environment = {**threads(1), READY: "1"}
    # From any folder, and where the package is not installed.
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    command = [python, "-m", "benchmarks", *arguments]
    raise SystemExit(subprocess.run(command, env=environment).returncode)
