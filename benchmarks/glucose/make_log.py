"""Write the log that ships with the package: ``python -m benchmarks.glucose.make_log``.

Takes about a minute, and simglucose: ``pip install --no-deps simglucose==0.2.11``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

import sklearn_stackelberg
from benchmarks.glucose.simulator import make_log

N_DAYS, SEED = 105, 0
_SHIPPED = Path(sklearn_stackelberg.__file__).parent / "data" / "glucose.csv"


def as_shipped(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with whole numbers written as such."""
    return table.astype({"glucose": "Int64", "trend": "Int64"})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=_SHIPPED)
    log = as_shipped(make_log(N_DAYS, SEED, own=True))
    log.to_csv(parser.parse_args().path, index=False, lineterminator="\n")
