"""How a contestant takes its turns: it waits for a number of steps on its standard input, does them, and says how long it took.

Standard library only, so that it runs in any peer's environment. What the contestant prints itself goes to standard error.
"""

import json
import os
import sys
import time


class Pace:
    """Turns of steps. `begin` and `end` stand around each step: `busy` counts what lies between, `wall` the loading too.

    (Of a turn of N steps only N - 1 batches are loaded within it; `wall` is drawn out from these to N.)
    """

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self._left = self._steps = 0
        self._busy = self._begun = self._first_ended = 0.0

    def begin(self) -> None:
        """A step begins; before a turn's first one, wait for the turn."""
        if not self._left:
            self._left = self._steps = self.next_turn()
            self._busy = 0.0
        self._begun = time.perf_counter()

    def end(self) -> None:
        """The step is over."""
        now = time.perf_counter()
        self._busy += now - self._begun
        if self._left == self._steps:
            self._first_ended = now
        self._left -= 1
        if not self._left:
            rest = self._steps - 1
            wall = (now - self._first_ended) / rest * self._steps if rest else self._busy
            self.tell(self._steps, busy_s=self._busy, wall_s=wall)

    def next_turn(self) -> int:
        """The steps of the next turn; the process ends where there is none."""
        asked = sys.stdin.readline().strip()
        if not asked:
            os._exit(0)
        return int(asked)

    def tell(self, steps: int, *, busy_s: float, wall_s: float) -> None:
        self._answers.write(json.dumps({"steps": steps, "busy_s": busy_s, "wall_s": wall_s}) + "\n")
