"""uvicorn's protocol with bounds that it does not have: time and bytes of headers, connections, writing, and a gentle end.

The one place that knows uvicorn from within; tests/pipeline/test_serving.py fails where it changes.
"""

import asyncio
from typing import ClassVar

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pipeline.serve_config import ServeConfig
from pipeline.serving.figures import Figures
from pipeline.serving.refusals import RETRY_AFTER_S

_MOST_HEADER_BYTES = 64 << 10
_LAST_REQUEST_S = 1.0
"""How long an idle connection stays open after SIGTERM: a request may be on its way, and would be lost."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `limits` and `figures` are the service's, set by `guarded_protocol`."""

    limits: ClassVar[ServeConfig]
    figures: ClassVar[Figures]
    _timer: asyncio.TimerHandle | None = None
    _writing_timer: asyncio.TimerHandle | None = None
    _in_headers = False
    _header_bytes = 0
    _is_last = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self.figures.connections.set(len(self.connections))
        if len(self.connections) > self.limits.max_connections:
            self._refuse(
                429, f"{self.limits.max_connections:,} connections are open already. Try again in {RETRY_AFTER_S} s."
            )
            return
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.figures.connections.set(len(self.connections))
        self._stop_timer()
        if self._writing_timer is not None:
            self._writing_timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_headers:  # still: all of it was headers
            self._header_bytes += len(data)
            if self._header_bytes > _MOST_HEADER_BYTES and not self.transport.is_closing():
                self._refuse(431, f"The headers are larger than {_MOST_HEADER_BYTES >> 10} KiB.")

    def eof_received(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The client sends no more, but may still read: true where an answer is yet to come."""
        if self._is_idle() or self.transport.is_closing():
            return False
        if self._in_headers or (self.cycle.more_body and not self.cycle.response_started):
            self._refuse(400, "The connection was closed before the whole request was here.")
        elif not self.cycle.more_body:
            self.cycle.keep_alive = False
        return not self.transport.is_closing()

    def on_message_begin(self) -> None:
        self._in_headers, self._header_bytes = True, 0
        self._wait_for_headers()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._stop_timer()
        super().on_headers_complete()
        if self._is_last:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "This is no HTTP request that can be read.")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing_timer = self.loop.call_later(self.limits.receive_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing_timer is not None:
            self._writing_timer.cancel()

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():  # it never read its answer: closing in order would wait for that
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """Answer what is there, and a request that is on its way; then close."""
        self._is_last = True
        if self._is_idle():
            self.loop.call_later(_LAST_REQUEST_S, self._close_if_idle)
        else:
            self.cycle.keep_alive = False

    def _is_idle(self) -> bool:
        return not self._in_headers and (self.cycle is None or self.cycle.response_complete)

    def _close_if_idle(self) -> None:
        if self._is_idle() and not self.transport.is_closing():
            self.transport.close()

    def _wait_for_headers(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.limits.receive_timeout_s, self._headers_are_late)

    def _headers_are_late(self) -> None:
        if self._in_headers:
            self._refuse(408, f"The headers were not here within {self.limits.receive_timeout_s:g} s.")
        elif not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int, message: str) -> None:
        """Answer in uvicorn's place, and close."""
        self._stop_timer()
        self.figures.turned_away.labels(str(status)).inc()
        content = orjson.dumps({"error": message})
        headers = f"content-type: application/json\r\ncontent-length: {len(content)}\r\nconnection: close\r\n"
        if status == 429:
            headers += f"retry-after: {RETRY_AFTER_S}\r\n"
        self.transport.write(STATUS_LINE[status] + headers.encode() + b"\r\n" + content)
        self.transport.close()


def guarded_protocol(limits: ServeConfig, figures: Figures) -> type[GuardedProtocol]:
    """The protocol with the bounds of these settings."""
    return type("ServiceProtocol", (GuardedProtocol,), {"limits": limits, "figures": figures})
