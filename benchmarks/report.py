"""The output of a benchmark: raw rows as JSON lines, and a markdown table."""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
KEY = ("problem", "seed", "method", "setting")


class Rows:
    """The raw rows of a table, written as they come.

    Parameters
    ----------
    name : str
        Of the table.
    folder : Path
    resume : bool
        Keep the rows that an earlier run left, and do not compute them again.
    """

    def __init__(self, name: str, folder: Path = RESULTS, resume: bool = False) -> None:
        self.name = name
        self._folder = folder
        self._path = folder / f"{name}.jsonl"
        self._rows: dict[str, dict[str, Any]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if resume and self._path.exists():
            for line in self._path.read_text().splitlines():
                row = json.loads(line)
                self._rows[_key(row)] = row
        # A run that computes nothing, of a name that no problem has, empties nothing.
        self._mode = "a" if resume else "w"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows.values())

    def once(
        self, key: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The row of that key, computed where it is not there yet."""
        if _key(key) not in self._rows:
            row = {**{k: key.get(k) for k in KEY}, **compute()}
            self._rows[_key(row)] = row
            with self._path.open(self._mode) as file:
                file.write(json.dumps(row) + "\n")
            self._mode = "a"
        return self._rows[_key(key)]

    def publish(self, text: str) -> None:
        """Print the table and save it beside its rows."""
        text = text.strip()
        print(text, flush=True)
        (self._folder / f"{self.name}.md").write_text(text + "\n")


def _key(row: Mapping[str, Any]) -> str:
    return json.dumps([row.get(k) for k in KEY], sort_keys=True)


class Clock:
    """Seconds of a block: wall-clock, and of this process's work.

    The second does not grow when other programs share the machine.
    """

    def __enter__(self) -> Clock:
        self._wall, self._work = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._wall
        self.cpu_seconds = time.process_time() - self._work

    def row(self) -> dict[str, float]:
        """Both, as entries of a row."""
        return {
            "seconds": round(self.seconds, 4),
            "cpu_seconds": round(self.cpu_seconds, 4),
        }


def markdown(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(str(c) for c in line) + " |" for line in lines)


def best_settings(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each method's best setting of each problem, by the mean score over the seeds.

    A setting that was not run on every seed of its method is not considered.

    Returns
    -------
    list of dict
        ``problem``, ``method``, ``setting``, ``mean``, ``sd``, ``low``, ``n`` of the
        scores, ``seconds``, the median processor time of one fit (one thread; it does
        not grow when other programs share the machine).
    """
    groups: dict[tuple[str, str], dict[str, list[Mapping[str, Any]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in rows:
        setting = json.dumps(row["setting"], sort_keys=True)
        groups[row["problem"], row["method"]][setting].append(row)
    best = []
    for (problem, method), by_setting in groups.items():
        complete = max(len(found) for found in by_setting.values())
        summaries = []
        for found in by_setting.values():
            if len(found) < complete:
                continue
            scores = [row["score"] for row in found]
            summaries.append(
                {
                    "problem": problem,
                    "method": method,
                    "setting": found[0]["setting"],
                    "mean": statistics.fmean(scores),
                    "sd": statistics.pstdev(scores),
                    "low": min(scores),
                    "n": len(scores),
                    "seconds": statistics.median(row["cpu_seconds"] for row in found),
                }
            )
        best.append(max(summaries, key=lambda summary: summary["mean"]))
    return best


def setting_text(setting: Mapping[str, Any] | None) -> str:
    """A setting in a table's cell."""
    return ", ".join(f"{k} {v}" for k, v in (setting or {}).items()) or "default"
