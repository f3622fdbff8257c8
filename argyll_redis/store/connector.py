"""Which connector a URL means: one class for each kind of place, all behind one protocol."""

from __future__ import annotations

from argyll_redis.store.connect import Connector, UrlConnector
from argyll_redis.store.sentinel import SentinelConnector
from argyll_redis.store.url import SENTINEL, read_url


def connector_of(url: str) -> Connector:
    """Makes the connector of a URL. Raises `InvalidInput`, which does not quote it."""
    return SentinelConnector(url) if read_url(url).kind == SENTINEL else UrlConnector(url)
