"""Answers other than probabilities: JSON with one message, sent so that the client gets to read it."""

import asyncio
from collections.abc import Mapping

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipeline.serving.bodies import Body
from pipeline.serving.refusals import Refusal

JSON = "application/json"
_DISCARDED_FIRST_BYTES = 1 << 20
_HELD_BACK_S = 0.2
"""How long a client that finds no room waits for that answer: those that come again at once would else keep the service busy."""


def json_response(content: Mapping[str, object], status: int = 200) -> Response:
    return Response(orjson.dumps(content), status_code=status, media_type=JSON)


async def refused(refusal: Refusal, body: Body) -> Response:
    """The answer to a request that is refused. What is left of a small body is read first, so that the connection can stay."""
    told = body.told_bytes
    if refusal.keeps_connection and not body.has_ended and told is not None and told <= _DISCARDED_FIRST_BYTES:
        await body.discard()
    if refusal.status == 429:
        await asyncio.sleep(_HELD_BACK_S)
    return RefusedResponse(refusal, body)


class RefusedResponse(Response):
    """Where a body is still on its way, the connection is closed, but not before its sender had time to read the answer."""

    def __init__(self, refusal: Refusal, body: Body) -> None:
        closes = not refusal.keeps_connection or not body.has_ended
        headers = {**refusal.headers, **({"connection": "close"} if closes else {})}
        super().__init__(
            orjson.dumps({"error": refusal.message}), status_code=refusal.status, headers=headers, media_type=JSON
        )
        self._rest = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": bytes(self.body), "more_body": True})
        if not self._rest.has_ended:
            await self._rest.discard()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
