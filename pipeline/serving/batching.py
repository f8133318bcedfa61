"""Requests that wait, made to batches: what came while one batch was scored is the next."""

import asyncio
import logging
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pipeline.serve_config import ServeConfig
from pipeline.serving.figures import Figures
from pipeline.serving.model import Answer, RawRows, ServedModel
from pipeline.serving.refusals import Refusal, too_busy

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Waiting:
    model: ServedModel
    rows: RawRows
    num_rows: int
    answer: "asyncio.Future[Answer]"


class Batcher:
    """One queue, bounded in rows, and one thread that scores. A batch is of one model: that which its requests were read for."""

    def __init__(self, config: ServeConfig, figures: Figures) -> None:
        self._config, self._figures = config, figures
        self._queue: deque[_Waiting] = deque()
        self._queued_rows = 0
        self._arrival = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scorer")

    @property
    def queued_rows(self) -> int:
        return self._queued_rows

    def check_room(self, num_rows: int = 1) -> None:
        """Refusal where so many rows find no room in the queue."""
        if self._queued_rows + num_rows > self._config.max_queue_rows:
            raise too_busy(f"{self._queued_rows:,} rows wait to be scored already.")

    async def answer(self, model: ServedModel, rows: RawRows) -> Answer:
        """What the model says of the rows, scored together with others'. Refusal where the queue has no room for them."""
        num_rows = rows.num_rows
        self.check_room(num_rows)
        waiting = _Waiting(model, rows, num_rows, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._count(num_rows)
        self._arrival.set()
        return await waiting.answer

    async def run(self) -> None:
        """Score batch after batch, until cancelled."""
        while True:
            await self._arrival.wait()
            await self._fill()
            batch = self._next_batch()
            if batch:
                await self._score(batch)

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _fill(self) -> None:
        """Give others `max_wait_ms` to join, unless there are enough already."""
        end = time.monotonic() + self._config.max_wait_ms / 1e3
        while self._queued_rows < self._config.max_batch_rows and (left := end - time.monotonic()) > 0:
            self._arrival.clear()
            try:
                await asyncio.wait_for(self._arrival.wait(), left)
            except TimeoutError:
                return

    def _next_batch(self) -> list[_Waiting]:
        """The oldest requests of one model, up to `max_batch_rows`; those whose senders gave up are left out."""
        batch: list[_Waiting] = []
        num_rows = 0
        while self._queue:
            first = self._queue[0]
            if not first.answer.done():
                is_full = num_rows + first.num_rows > self._config.max_batch_rows
                if batch and (is_full or first.model is not batch[0].model):
                    break
                batch.append(first)
                num_rows += first.num_rows
            self._queue.popleft()
            self._count(-first.num_rows)
        if not self._queue:
            self._arrival.clear()
        return batch

    async def _score(self, batch: list[_Waiting]) -> None:
        started = time.perf_counter()
        model, requests = batch[0].model, [waiting.rows for waiting in batch]
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._thread, model.answers, requests)
        except Exception:  # a fault of ours, or a request that no check foresaw: the others are not to suffer for it
            logger.exception("A batch of %d requests failed; each is tried alone", len(batch))
            answers = await loop.run_in_executor(self._thread, _one_by_one, model, requests)
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)
        self._figures.score_seconds.observe(time.perf_counter() - started)
        self._figures.batch_rows.observe(sum(waiting.num_rows for waiting in batch))

    def _count(self, num_rows: int) -> None:
        self._queued_rows += num_rows
        self._figures.queue_rows.set(self._queued_rows)


def _one_by_one(model: ServedModel, requests: list[RawRows]) -> list[Answer]:
    answers: list[Answer] = []
    for request in requests:
        try:
            answers += model.answers([request])
        except Exception:
            logger.exception("A request could not be scored")
            answers.append(Refusal(500, "The service failed to score this request; its log says why."))
    return answers
