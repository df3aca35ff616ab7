"""What a server counts, for Prometheus to read. Every app has a registry of its own."""

from __future__ import annotations

from collections.abc import Callable

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one app. Needs prometheus-client."""

    def __init__(self, load: Callable[[], int]) -> None:
        """`load` tells how many answers wait or are being drawn."""
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        place = {"registry": self.registry, "namespace": "gemwright"}
        self.requests = Counter("requests", "Requests answered.", ["route", "status"], **place)
        self.tokens = Counter(
            "tokens", "Tokens read, found in the cache, drawn; proposed ahead, accepted.", ["kind"], **place
        )
        self.cancelled = Counter("cancelled", "Requests given up, by reason.", ["reason"], **place)
        self.first = Histogram("first_token_seconds", "Arrival to first token.", buckets=_SECONDS, **place)
        self.whole = Histogram("request_seconds", "Arrival to last byte.", ["route"], buckets=_SECONDS, **place)
        Gauge("answers_under_way", "Answers that wait or are being drawn.", **place).set_function(lambda: load())

    def text(self) -> tuple[bytes, str]:
        """The page that Prometheus reads, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST
