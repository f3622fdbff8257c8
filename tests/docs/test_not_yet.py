"""What the page of missing things says of the product is so: a row goes when its feature comes."""

from __future__ import annotations

import asyncio

import pytest
from doc_words import DOCS

from argyll_redis import Argyll, InvalidInput

PAGE = (DOCS / "not-yet.md").read_text()


def test_flows_that_are_said_not_to_be_undone_as_a_whole_are_refused() -> None:
    assert "| undo everything of a flow that has sub-flows |" in PAGE
    app = Argyll("memory://", namespace="not-yet")
    child = {"id": "child", "type": "script", "script": {"language": "lua", "script": "return {}"}}
    parent = {"id": "parent", "type": "flow", "flow": {"goals": ["child"]}}

    async def start() -> None:
        await app.register_steps([child, parent])
        await app.start(["parent"], compensate="flow")

    with pytest.raises(InvalidInput, match="compensate"):
        asyncio.run(start())
