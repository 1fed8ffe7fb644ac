"""``python -m benchmarks unchanged``: are all numbers those of another revision?

For refactorings: `_unchanged_numbers` runs with the package of that revision and with
this checkout's, and what the two runs saved is compared name by name.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import FOLDER, ROOT, threads
from benchmarks.report import markdown

# Sums in another order differ by some 1e-15 a term.
TOLERANCE = 1e-12

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Comparison:
    """A quantity before and after.

    Parameters
    ----------
    name : str
        ``problem/quantity``.
    difference : float
        Largest, relative to the largest absolute entry before; infinite where the two
        cannot be compared or one is missing.
    same_bits : bool
        Whether type, shape and every bit are equal.
    missing : {"", "before", "after"}
        The side that lacks the quantity.
    """

    name: str
    difference: float
    same_bits: bool
    missing: str = ""

    @property
    def problem(self) -> str:
        return self.name.partition("/")[0]

    @property
    def unchanged(self) -> bool:
        return self.difference <= TOLERANCE

    def __str__(self) -> str:
        if self.missing:
            return f"{self.name}: missing {self.missing}"
        return f"{self.name}: {self.difference:.1e}"


def relative_difference(before: NDArray[Any], after: NDArray[Any]) -> float:
    """The largest difference, relative to the largest absolute entry before."""
    if before.shape != after.shape:
        return np.inf
    if not all(np.issubdtype(a.dtype, np.number) for a in (before, after)):
        return 0.0 if np.array_equal(before, after) else np.inf
    finite = np.isfinite(before)
    # NaN and the infinities have to stand in the same places.
    if not np.array_equal(before[~finite], after[~finite], equal_nan=True):
        return np.inf
    before, after = before[finite].astype(float), after[finite].astype(float)
    if np.array_equal(before, after):
        return 0.0
    largest = np.abs(before).max()
    difference = np.abs(after - before).max()
    if largest == 0.0 or np.isnan(difference):
        return np.inf
    return float(difference / largest)


def compare(before: Arrays, after: Arrays) -> list[Comparison]:
    """Every quantity of either side, in the order of the first."""
    found = []
    for name in dict.fromkeys([*before, *after]):
        if name not in before or name not in after:
            side = "after" if name in before else "before"
            found.append(Comparison(name, np.inf, False, side))
            continue
        a, b = before[name], after[name]
        same = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        found.append(Comparison(name, relative_difference(a, b), same))
    return found


def report(comparisons: Sequence[Comparison], n_listed: int = 20) -> str:
    """A row for each problem, and the quantities that differ, largest first."""
    problems: dict[str, list[Comparison]] = {}
    for one in comparisons:
        problems.setdefault(one.problem, []).append(one)
    rows = [
        (
            problem,
            len(found),
            f"{max(one.difference for one in found):.1e}",
            "yes" if all(one.same_bits for one in found) else "no",
        )
        for problem, found in problems.items()
    ]
    headings = ("problem", "quantities", "largest relative difference", "bits equal?")
    lines = [markdown(headings, rows)]
    changed = [one for one in comparisons if not one.unchanged]
    if changed:
        lines.append(f"\n{len(changed)} of {len(comparisons)} quantities differ:")
        worst = sorted(changed, key=lambda one: one.difference, reverse=True)
        lines += [f"- {one}" for one in worst[:n_listed]]
        if len(worst) > n_listed:
            lines.append(f"- and {len(worst) - n_listed} more")
    return "\n".join(lines)


@contextmanager
def checkout(revision: str, folder: Path) -> Iterator[Path]:
    """A working tree of the revision, for as long as it is needed."""
    git = ["git", "-C", str(ROOT), "worktree"]
    path = folder / "checkout"
    add = [*git, "add", "--quiet", "--detach", str(path), revision]
    if subprocess.run(add).returncode:
        raise SystemExit(f"No working tree of {revision!r} could be made; see above.")
    try:
        yield path
    finally:
        subprocess.run([*git, "remove", "--force", str(path)], check=True)


def numbers(root: Path, file: Path, problems: Sequence[str]) -> tuple[Arrays, bool]:
    """What the package of a checkout computes, and whether every problem ran."""
    script = [sys.executable, "-P", str(FOLDER / "_unchanged_numbers.py")]
    # No GPU: its sums need not come out alike twice.
    environment = threads(1) | {"PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(
        [*script, str(root), str(file), *problems], env=environment, cwd=file.parent
    )
    if not file.exists():
        raise SystemExit(f"The run with the package of {root} saved nothing.")
    with np.load(file) as arrays:
        return dict(arrays), run.returncode == 0


def main(arguments: Sequence[str]) -> int:
    """Compare; 0 if nothing has changed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks unchanged",
        description="Compare every number with those of another revision.",
    )
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", help="default: all")
    parser.add_argument("--revision", required=True, help="of git, to compare with")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        with checkout(options.revision, folder) as old, ThreadPoolExecutor() as pool:
            files = folder / "before.npz", folder / "after.npz"
            run = partial(numbers, problems=options.problems)
            (before, ran), (after, runs) = pool.map(run, (old, ROOT), files)
    comparisons = compare(before, after)
    print(report(comparisons), flush=True)
    for side, complete in ((options.revision, ran), ("this checkout", runs)):
        if not complete:
            print(f"Problems failed with the package of {side}; see above.")
    return 0 if ran and runs and all(one.unchanged for one in comparisons) else 1
