"""Who may ask, and for how much at once. Plain Python; one event loop's thread uses it."""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from gemwright.server.errors import LIMIT, SERVER, ApiError
from gemwright.server.settings import Settings

EVERYBODY = ""  # whom a server without keys counts all requests for


@dataclass
class _Account:
    """What one key has under way, and the tokens that it may still have (negative: a debt)."""

    running: int
    tokens: float
    at: float


class Door:
    """Checks keys and counts what each has under way."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._digests = [_digest(key) for key in settings.keys]
        self._accounts: dict[str, _Account] = {}

    def who(self, header: str | None) -> str:
        """A name for the key in an `Authorization` header. All keys are compared, each in constant time, so that how
        long it takes tells nothing. Raises `ApiError` 401."""
        if not self._digests:
            return EVERYBODY
        scheme, _, key = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise _denied("give your API key: Authorization: Bearer KEY")
        given = _digest(key.strip())
        found = ""
        for digest in self._digests:
            if hmac.compare_digest(given, digest):
                found = digest
        if not found:
            raise _denied("this API key is not known here")
        return found[:12]

    def enter(self, who: str) -> None:
        """A request begins. Raises `ApiError` 429 where the key has too many under way or has spent its tokens."""
        account = self._account(who)
        limit = self._settings.concurrent
        if limit is not None and account.running >= limit:
            message = f"{account.running} requests of this key are under way, {limit} may be"
            raise _slower(message, code="concurrent_requests_exceeded", seconds=1)
        rate = self._settings.tokens_per_minute
        if rate is not None and account.tokens <= 0:
            wait = math.ceil((1 - account.tokens) * 60 / rate)
            message = f"this key's {rate} tokens per minute are spent; the next one comes in {wait} s"
            raise _slower(message, code="rate_limit_exceeded", seconds=wait)
        account.running += 1

    def leave(self, who: str, tokens: int) -> None:
        """The request has ended, with so many tokens read and drawn."""
        account = self._account(who)
        account.running -= 1
        account.tokens -= tokens

    def _account(self, who: str) -> _Account:
        """The key's account, with the tokens that time has given back."""
        rate = float(self._settings.tokens_per_minute or 0)
        now = self._clock()
        account = self._accounts.setdefault(who, _Account(0, rate, now))
        account.tokens = min(rate, account.tokens + (now - account.at) * rate / 60)
        account.at = now
        return account


def full(waiting: int, limit: int) -> ApiError:
    """The refusal of a request that the queue has no room for."""
    message = f"{waiting} requests wait already, {limit} may; try again soon"
    return ApiError(503, message, kind=SERVER, code="overloaded", retry_after=1 + waiting // 8)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _denied(message: str) -> ApiError:
    return ApiError(401, message, code="invalid_api_key")


def _slower(message: str, *, code: str, seconds: int) -> ApiError:
    return ApiError(429, message, kind=LIMIT, code=code, retry_after=seconds)
