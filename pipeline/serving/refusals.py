"""Why a request has no probabilities: each reason is an HTTP status and one message for its sender."""

from collections.abc import Mapping

RETRY_AFTER_S = 1


class Refusal(Exception):
    """An answer other than probabilities. `keeps_connection`: whether the next request may come over the same connection."""

    def __init__(self, status: int, message: str, *, retry: bool = False, keeps_connection: bool = True) -> None:
        super().__init__(message)
        self.status, self.message, self.keeps_connection = status, message, keeps_connection
        self.headers: Mapping[str, str] = {"retry-after": str(RETRY_AFTER_S)} if retry else {}


def bad_request(message: str) -> Refusal:
    """What was sent cannot be read as rows of this model."""
    return Refusal(400, message)


def too_large(message: str) -> Refusal:
    return Refusal(413, message)


def too_busy(message: str) -> Refusal:
    """No room at this moment: the same request can be sent again."""
    return Refusal(429, f"{message} Send the request again in {RETRY_AFTER_S} s.", retry=True)


def unavailable(message: str) -> Refusal:
    """The service did not get to it in time, or is about to end."""
    return Refusal(503, message, retry=True)
