"""What tests of the HTTP API speak in: an app behind its API, a client, schemas, a websocket."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, TextMessage

from argyll_redis import Argyll
from argyll_redis.http.address import Address
from argyll_redis.http.api import Api
from argyll_redis.http.guard import Hosts
from argyll_redis.http.keys import read_keys
from argyll_redis.http.schemas import COMPONENTS
from argyll_redis.http.server import HttpServer

HOST = "127.0.0.1:8080"
BASE = f"http://{HOST}"
KEY_OF = {"read": "r-key", "operate": "o-key", "define": "d-key"}
KEYS = ",".join(f"{role}:{key}" for role, key in KEY_OF.items())


def api_of(app: Argyll, *, keys: str | None = None) -> Api:
    """The API of an app, without a server."""
    return Api(app, hosts=Hosts(Address("127.0.0.1", 8080)), keys=read_keys(keys))


def client_of(api: Any, **headers: str) -> httpx.AsyncClient:
    """A client of an API in this process; what is raised within the API fails the test."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url=BASE, headers=headers)


@asynccontextmanager
async def served(app: Argyll, **options: Any) -> AsyncIterator[tuple[HttpServer, httpx.AsyncClient]]:
    """A real server of an app, and a client of it."""
    server = HttpServer(app, "127.0.0.1:0", **options)
    async with server.serving(), httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        yield server, client


def script_step(id: str, script: str, *, needs: Mapping[str, str], provides: str) -> dict[str, Any]:
    """A step in Lua; `needs` are names and types."""
    attributes: dict[str, Any] = {name: {"role": "required", "type": kind} for name, kind in needs.items()}
    attributes[provides] = {"role": "output", "type": "number"}
    return {
        "id": id,
        "type": "script",
        "attributes": attributes,
        "script": {"language": "lua", "script": script},
    }


DOUBLE = script_step("double", "return {b = a * 2}", needs={"a": "number"}, provides="b")
TRIPLE = script_step("triple", "return {c = b * 3}", needs={"b": "number"}, provides="c")


def refused(response: httpx.Response, status: int) -> str:
    """The error of an answer in the one shape that refusals have."""
    assert response.status_code == status, (response.status_code, response.text)
    body = response.json()
    assert set(body) == {"error", "status"}
    assert body["status"] == status
    assert "Traceback" not in body["error"]
    return body["error"]


# ---------------------------------------------------------------------- schemas

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


def mismatch(schema: Mapping[str, Any], value: Any, path: str = "$") -> str:
    """Where a value is not what a schema says; empty when it is."""
    if "$ref" in schema:
        schema = COMPONENTS[schema["$ref"].rpartition("/")[2]]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(type(value) in _TYPES[kind] for kind in kinds):
        return f"{path}: {value!r:.60} is no {kinds}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{path}: {value!r} is none of {schema['enum']}"
    if isinstance(value, dict):
        return _object_mismatch(schema, value, path)
    if isinstance(value, list) and "items" in schema:
        found = (mismatch(schema["items"], each, f"{path}[{n}]") for n, each in enumerate(value))
        return next(filter(None, found), "")
    return ""


def _object_mismatch(schema: Mapping[str, Any], value: dict[str, Any], path: str) -> str:
    known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
    missing = set(schema.get("required", ())) - value.keys()
    if missing:
        return f"{path}: lacks {sorted(missing)}"
    for name, each in value.items():
        if name not in known and more is False:
            return f"{path}: has {name}"
        of = known.get(name, more)
        found = mismatch(of, each, f"{path}.{name}") if isinstance(of, Mapping) else ""
        if found:
            return found
    return ""


# ---------------------------------------------------------------------- websocket


class Ws:
    """A websocket client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._connection = Connection(ConnectionType.CLIENT)
        self._text = ""
        self._messages: list[Any] = []
        self.status = 0
        """Of the answer that refused it; 101 when it was accepted."""
        self.refusal = b""
        self.close_code = 0

    @classmethod
    async def connect(cls, server: HttpServer, path: str = "/engine/ws", **headers: str) -> Ws:
        """Connects; look at `status` whether it was accepted."""
        self = cls(*await asyncio.open_connection("127.0.0.1", server.address.port))
        key = base64.b64encode(os.urandom(16)).decode()
        named = {"Host": server.address.netloc, **headers}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        self._writer.write("\r\n".join([*lines, f"Sec-WebSocket-Key: {key}", "", ""]).encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        self.status = int(head.split()[1])
        if self.status != 101:
            self.refusal = await self._reader.readuntil(b"}")
        return self

    async def send(self, message: Any) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        self._writer.write(self._connection.send(TextMessage(text)))
        await self._writer.drain()

    async def subscribe(self, sub_id: str, *aggregates: list[str], **more: Any) -> dict[str, Any]:
        """Subscribes and gives the answer, which comes before any event of the subscription."""
        data = {"sub_id": sub_id, "aggregate_ids": list(aggregates), **more}
        await self.send({"type": "subscribe", "data": data})
        return await self.next()

    async def next(self) -> dict[str, Any]:
        """The next message; raises `ConnectionError` when the server has closed."""
        while not self._messages:
            if self.close_code:
                raise ConnectionError(self.close_code)
            data = await self._reader.read(65536)
            self._connection.receive_data(data or None)
            for event in self._connection.events():
                if isinstance(event, TextMessage):
                    self._text += event.data
                    if event.message_finished:
                        self._messages.append(json.loads(self._text))
                        self._text = ""
                elif isinstance(event, CloseConnection):
                    self.close_code = event.code
        return self._messages.pop(0)

    async def until(self, type: str) -> list[dict[str, Any]]:
        """All messages up to one of this type."""
        found = [await self.next()]
        while found[-1]["type"] != type:
            found.append(await self.next())
        return found

    async def close(self) -> None:
        self._writer.close()
