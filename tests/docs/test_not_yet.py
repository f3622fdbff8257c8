"""What the page of missing things says of the product is so: a row goes when its feature comes."""

from __future__ import annotations

import pytest
from doc_words import DOCS

from argyll_redis import Argyll, InvalidInput

PAGE = (DOCS / "not-yet.md").read_text()


@pytest.mark.parametrize("url", ["redis+cluster://localhost", "redis+sentinel://localhost:1/service"])
def test_urls_that_are_said_to_be_refused_are(url: str) -> None:
    assert "| Redis Cluster and Sentinel URLs |" in PAGE
    with pytest.raises(InvalidInput, match="not supported yet"):
        Argyll(url).make_store()
