"""The body of a request, read in bounds: of bytes, of time, and of what all requests together may hold."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

from starlette.requests import ClientDisconnect, Request

from pipeline.serving.refusals import Refusal, bad_request, too_busy, too_large

# What is read and thrown away of a body that is refused, so that its sender gets to read the answer.
_DISCARDED_BYTES = 16 << 20
_DISCARDED_S = 2.0


class Room:
    """Bytes that requests may hold at a time, all of them together."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.held = max_bytes, 0

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """A request's share, given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.held


class Share:
    """What one request holds of the room."""

    def __init__(self, room: Room) -> None:
        self._room, self.held = room, 0

    def take(self, num_bytes: int) -> None:
        """Refusal where the room is full."""
        if self._room.held + num_bytes > self._room.max_bytes:
            raise too_busy(f"{self._room.held >> 20:,} MiB of requests are held already.")
        self._room.held += num_bytes
        self.held += num_bytes


class Body:
    """A request's body. `has_ended`: whether all of it was received."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.has_ended = not {"content-length", "transfer-encoding"} & set(request.headers)

    @property
    def told_bytes(self) -> int | None:
        """Its size as the headers tell it; none where they do not."""
        length = self._request.headers.get("content-length", "")
        return int(length[:20]) if length.isdigit() else None

    async def read(self, share: Share, max_bytes: int, timeout_s: float) -> bytes:
        """The whole body. Refusal for one that is too large (413), too slow (408), cut off (400), or finds no room (429)."""
        if (self.told_bytes or 0) > max_bytes:
            raise _beyond(max_bytes)
        pieces: list[bytes] = []
        try:
            async with asyncio.timeout(timeout_s):
                async for piece in self._pieces():
                    share.take(len(piece))
                    if share.held > max_bytes:
                        raise _beyond(max_bytes)
                    pieces.append(piece)
        except TimeoutError as error:
            message = f"The body was not here within {timeout_s:g} s; send it faster, or in smaller requests."
            raise Refusal(408, message, keeps_connection=False) from error
        except ClientDisconnect as error:
            raise bad_request("The connection was closed before the whole body was here.") from error
        return b"".join(pieces)

    async def discard(self) -> None:
        """Read on, keeping nothing, for a little while."""
        num_bytes = 0
        with suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(_DISCARDED_S):
                async for piece in self._pieces():
                    num_bytes += len(piece)
                    if num_bytes > _DISCARDED_BYTES:
                        return

    async def _pieces(self) -> AsyncIterator[bytes]:
        while not self.has_ended:
            message = await self._request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self.has_ended = not message.get("more_body", False)
            yield message.get("body", b"")


def _beyond(max_bytes: int) -> Refusal:
    return too_large(f"The body is larger than {max_bytes >> 10:,} KiB; send fewer rows at a time.")
