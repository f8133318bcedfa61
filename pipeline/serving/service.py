"""The service: its addresses, the model that answers now, and how another takes its place."""

import asyncio
import ipaddress
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from data.errors import ShardlineError
from pipeline.serve_config import ServeConfig
from pipeline.serving.answers import JSON, json_response, refused
from pipeline.serving.arrow_rows import arrow_answer, rows_of_arrow
from pipeline.serving.batching import Batcher
from pipeline.serving.bodies import Body, Room
from pipeline.serving.figures import Figures
from pipeline.serving.json_rows import json_answer, rows_of_json
from pipeline.serving.model import RawRows, ServedModel, load_model
from pipeline.serving.refusals import Refusal, unavailable

logger = logging.getLogger(__name__)

ARROW = "application/vnd.apache.arrow.stream"
_FORWARDED = ("origin", "forwarded", "x-forwarded-for", "via")
"""Headers of requests that a browser or a proxy sends for somebody who may be elsewhere."""


class Service:
    """Answers requests with the model at hand; `reload` puts the bundle that is at the path now in its place."""

    def __init__(self, config: ServeConfig, model: ServedModel) -> None:
        self.config, self.model = config, model
        self.figures = Figures()
        self.figures.serves(model)
        self.is_ending: Callable[[], bool] = lambda: False
        self._batcher = Batcher(config, self.figures)
        self._room = Room(config.max_queue_mib << 20)
        self._reloading = asyncio.Lock()
        self._max_bytes = config.max_request_kib << 10

    def app(self) -> Starlette:
        """The service as an ASGI application; scoring runs as long as its lifespan does."""
        routes = [
            Route("/predict", self._predict, methods=["POST"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
            Route("/reload", self._reload, methods=["POST"]),
        ]
        handlers = {HTTPException: _unknown, Exception: _failed}
        app = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)  # pyright: ignore[reportArgumentType]
        app.router.redirect_slashes = False
        return app

    async def reload(self) -> ServedModel:
        """Load the bundle anew and let it answer from the next request on. Refusal (409) where it cannot; the old one stays."""
        async with self._reloading:
            try:
                model = await asyncio.to_thread(load, self.config)
            except Exception as error:  # whatever is wrong with the new bundle, the old one goes on
                self.figures.reloads.labels("refused").inc()
                reason = str(error) if isinstance(error, ShardlineError) else f"{type(error).__name__}: {error}"
                logger.error(
                    "Not reloaded, %s goes on: %s",
                    self.model.name,
                    reason,
                    exc_info=not isinstance(error, ShardlineError),
                )
                raise Refusal(409, f"Not reloaded, {self.model.name} goes on: {reason}") from error
            self.model = model
        self.figures.reloads.labels("done").inc()
        self.figures.serves(model)
        logger.info("Reloaded: %s answers now (%s)", model.name, model.directory)
        return model

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        scoring = asyncio.create_task(self._batcher.run())
        try:
            yield
        finally:
            scoring.cancel()
            self._batcher.close()

    async def _predict(self, request: Request) -> Response:
        started, body = time.perf_counter(), Body(request)
        try:
            response = await self._probabilities(request, body)
        except Refusal as refusal:
            response = await refused(refusal, body)
        self.figures.requests.labels(str(response.status_code)).inc()
        self.figures.seconds.observe(time.perf_counter() - started)
        return response

    async def _probabilities(self, request: Request, body: Body) -> Response:
        kind = _content_type(request)
        self._batcher.check_room()
        with self._room.share() as share:
            content = await body.read(share, self._max_bytes, self.config.receive_timeout_s)
            model = self.model
            rows = self._rows(kind, content, model)
            answer = await self._answer(model, rows)
        self.figures.rows.inc(len(answer))
        write = arrow_answer if kind == ARROW else json_answer
        return Response(write(answer, model.name), media_type=kind)

    def _rows(self, kind: str, content: bytes, model: ServedModel) -> RawRows:
        if kind == ARROW:
            return rows_of_arrow(content, model.columns, self.config.max_request_rows, self._max_bytes)
        return rows_of_json(content, model.columns, self.config.max_request_rows)

    async def _answer(self, model: ServedModel, rows: RawRows) -> np.ndarray:
        if not rows.num_rows:
            return np.empty(0, np.float32)
        try:
            async with asyncio.timeout(self.config.answer_timeout_s):
                answer = await self._batcher.answer(model, rows)
        except TimeoutError as error:
            raise unavailable(
                f"No answer within {self.config.answer_timeout_s:g} s; the rows were not scored."
            ) from error
        if isinstance(answer, Refusal):
            raise answer
        return answer

    async def _health(self, request: Request) -> Response:
        status = "ending" if self.is_ending() else "ok"
        about = {
            "status": status,
            "model": self.model.name,
            "bundle": str(self.model.directory),
            "loaded": self.model.loaded,
        }
        return json_response(about, 503 if self.is_ending() else 200)

    async def _metrics(self, request: Request) -> Response:
        self.figures.held_bytes.set(self._room.held)
        return Response(self.figures.text(), media_type="text/plain; version=0.0.4")

    async def _reload(self, request: Request) -> Response:
        body = Body(request)
        try:
            _check_local(request)
            model = await self.reload()
        except Refusal as refusal:
            return await refused(refusal, body)
        return json_response({"model": model.name, "bundle": str(model.directory)})


def load(config: ServeConfig) -> ServedModel:
    """The model at the path of the settings."""
    return load_model(Path(config.bundle), config.runtime, max(config.max_batch_rows, config.max_request_rows))


def _content_type(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, ARROW):
        raise Refusal(415, f"The content type is {kind[:100] or 'not given'!r}; expected {JSON} or {ARROW}.")
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise Refusal(415, f"The content encoding is {encoding[:100]!r}; send the body as it is.")
    return kind


def _check_local(request: Request) -> None:
    client = request.client.host if request.client else ""
    passed_on = next((name for name in _FORWARDED if name in request.headers), None)
    if passed_on or not _is_loopback(client):
        raise Refusal(
            403, "Reloading is for this machine alone, without a browser or a proxy between. SIGHUP does the same."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _unknown(request: Request, error: HTTPException) -> Response:
    known = "POST /predict, GET /health, GET /metrics, POST /reload"
    message = f"There is no {request.method[:20]} {request.url.path[:100]}; there is {known}."
    response = await refused(Refusal(error.status_code, message), Body(request))
    response.headers.update(error.headers or {})
    return response


async def _failed(request: Request, error: Exception) -> Response:
    return json_response({"error": "The service failed on this request; its log says why."}, 500)
