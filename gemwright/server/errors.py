"""A refusal as OpenAI's clients expect it: a status and `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from typing import Any

from gemwright.errors import ModelError, UserError

GONE = 499  # nobody reads it: the status that logs and metrics give to a client that left
INVALID, SERVER, LIMIT = "invalid_request_error", "server_error", "rate_limit_error"


class ApiError(Exception):
    """Why a request was not answered. `status`: HTTP's number; `param`: the field at fault; `retry_after`: seconds
    after which it is worth another try; `close`: the connection ends with this answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind = status, message, kind
        self.param, self.code, self.retry_after, self.close = param, code, retry_after, close

    def body(self) -> dict[str, Any]:
        """The JSON that answers."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """What goes with it."""
        found = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return found | ({"Connection": "close"} if self.close else {})


class Stopped(UserError):
    """The engine's thread has ended, or is about to: nobody's mistake, and worth another try elsewhere or later."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down", hint="try again later")


def draining() -> ApiError:
    """The refusal of whatever comes while the server ends."""
    message = "the server is shutting down"
    return ApiError(503, message, kind=SERVER, code="draining", retry_after=5, close=True)


def as_api_error(error: BaseException) -> ApiError:
    """Any failure as a refusal: a person's mistake is 400 with its own words, all else is 500 and keeps its details to
    the server's log."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Stopped):
        return draining()
    if isinstance(error, ModelError):
        return ApiError(500, error.message, kind=SERVER, code="model_error")
    if isinstance(error, UserError):
        return ApiError(400, f"{error.message}; {error.hint}" if error.hint else error.message)
    return ApiError(500, "the server could not answer this request", kind=SERVER, code="internal_error")


def left() -> ApiError:
    """The end of a request whose client left."""
    return ApiError(GONE, "the client has left", code="client_left", close=True)


def unsupported(what: str, param: str) -> ApiError:
    """A refusal of something that this server does not do."""
    return ApiError(400, f"{what} is not supported by this server", param=param, code="unsupported_parameter")
