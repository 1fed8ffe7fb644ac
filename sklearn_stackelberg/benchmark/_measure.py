"""Seconds and memory of a call."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from pathlib import Path
from typing import Self

# Of this process, in pages, the second number what is resident. Linux alone has it.
_STATM = Path("/proc/self/statm")

# Seconds between two looks: arrays that matter live longer.
_INTERVAL = 0.005


class Measured:
    """A block of code, by wall time and by how much the process grew meanwhile.

    ``megabytes`` is the largest resident memory less that at the start, looked at every
    5 ms, so that what PyTorch takes counts as numpy's arrays do. NaN where the system
    does not say (any but Linux).
    """

    seconds = megabytes = float("nan")

    def __enter__(self) -> Self:
        # Freed memory that the C library keeps would be used again without a trace.
        with contextlib.suppress(OSError, AttributeError, TypeError):
            ctypes.CDLL(None).malloc_trim(0)
        self._first = self._most = _resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if self._first is not None:
            self._thread.start()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start
        self._look()
        self._done.set()
        if self._first is not None and self._most is not None:
            self._thread.join()
            self.megabytes = (self._most - self._first) / 1e6

    def _watch(self) -> None:
        while not self._done.wait(_INTERVAL):
            self._look()

    def _look(self) -> None:
        now = _resident()
        if now is not None and self._most is not None:
            self._most = max(self._most, now)


def _resident() -> int | None:
    """Bytes of this process that are in memory."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
