"""What the page of missing things says of the product is so: a row goes when its feature comes."""

from __future__ import annotations

import asyncio

import click
import pytest
from doc_words import DOCS

from argyll_redis import Argyll, InvalidInput
from argyll_redis.cli import argyll

PAGE = (DOCS / "not-yet.md").read_text()


@pytest.mark.parametrize("url", ["redis+cluster://localhost", "redis+sentinel://localhost:1/service"])
def test_urls_that_are_said_to_be_refused_are(url: str) -> None:
    assert "| Redis Cluster and Sentinel URLs |" in PAGE
    with pytest.raises(InvalidInput, match="not supported yet"):
        Argyll(url).make_store()


def test_the_command_that_is_said_to_be_missing_is() -> None:
    assert "| a command that rebuilds queues and indexes from the logs |" in PAGE
    known = {"demo", "dev", "engine", "step", "plan", "flow", "queue", "audit", "doctor"}
    assert set(argyll.list_commands(click.Context(argyll))) == known


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
