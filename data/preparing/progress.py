"""A progress bar over the bytes of the source, with the rows per second so far."""

import time
from types import TracebackType

from tqdm import tqdm


class Progress:
    """Draws on stderr, or nothing where it is not shown."""

    def __init__(self, title: str, num_bytes: int, is_shown: bool) -> None:
        layout = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        self._bar = tqdm(
            desc=title,
            total=num_bytes,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            bar_format=layout,
            disable=not is_shown,
        )
        self._started = time.perf_counter()
        self._num_rows = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, num_bytes: int, num_rows: int) -> None:
        self._num_rows += num_rows
        rate = self._num_rows / max(time.perf_counter() - self._started, 1e-9)
        self._bar.set_postfix_str(f"{rate:,.0f} rows/s", refresh=False)
        self._bar.update(num_bytes)
