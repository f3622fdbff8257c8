"""TLS on a real server, with certificates that are checked."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
from own_redis import OwnRedis, own_processes

from argyll_redis.app import Argyll
from argyll_redis.errors import StoreUnavailable
from argyll_redis.store.connect import BlockingLink, UrlConnector
from argyll_redis.store.redis import RedisStore

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(120)]


class Authority:
    """An authority, and a certificate of it for a host; made with `openssl`."""

    def __init__(self, directory: Path, host: str) -> None:
        self.directory = directory
        directory.mkdir()
        self.certificate, self.key = directory / "host.pem", directory / "host.key"
        self.root = directory / "ca.pem"
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        own = ("-keyout", "ca.key", "-out", "ca.pem", "-subj", f"/CN={directory.name}")
        self._openssl("req", "-x509", *key, *own)
        self._openssl("req", *key[:-2], "-keyout", "host.key", "-out", "host.csr", "-subj", "/CN=host")
        (directory / "names").write_text(f"subjectAltName={host}\n")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
        self._openssl("x509", "-req", "-in", "host.csr", *signing, "-out", "host.pem", "-extfile", "names")

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.directory, check=True, capture_output=True, timeout=30)

    @property
    def options(self) -> list[str]:
        """Of a server that shows the certificate."""
        files = {"cert-file": self.certificate, "key-file": self.key, "ca-cert-file": self.root}
        return [each for name, file in files.items() for each in (f"--tls-{name}", str(file))]


@pytest.fixture(scope="module")
def authorities() -> Iterator[dict[str, Authority]]:
    """One for this host, one for another host, and one that nobody asked."""
    if shutil.which("openssl") is None:
        servers.leave_out("no openssl on PATH")
    with tempfile.TemporaryDirectory(prefix="argyll-tls-") as directory:
        place = Path(directory)
        yield {
            "here": Authority(place / "here", "IP:127.0.0.1"),
            "elsewhere": Authority(place / "elsewhere", "DNS:redis.example"),
            "other": Authority(place / "other", "IP:127.0.0.1"),
        }


def started(make: type[OwnRedis], authority: Authority, clients: str) -> OwnRedis:
    server = make(*authority.options, "--tls-auth-clients", clients, has_tls=True)
    try:
        return server.start(
            ssl=True,
            ssl_ca_certs=str(authority.root),
            ssl_certfile=str(authority.certificate),
            ssl_keyfile=str(authority.key),
            ssl_check_hostname=False,
        )
    except RuntimeError:
        servers.leave_out("the redis-server on PATH was built without TLS")


def url_of(server: OwnRedis, authority: Authority, *options: str) -> str:
    chosen = [f"ssl_ca_certs={authority.root}", *options]
    return f"rediss://{server.address}?{'&'.join(chosen)}"


async def why_unreachable(url: str) -> tuple[str, str]:
    """Why a store cannot be opened, and what the thread that renews leases is told."""
    store = RedisStore(url, "t")
    with pytest.raises(StoreUnavailable) as raised:
        await store.open()
    await store.close()
    link = BlockingLink(UrlConnector(url))
    with pytest.raises(StoreUnavailable) as blocking:
        await asyncio.to_thread(link.call, ("PING",))
    link.close()
    return str(raised.value), str(blocking.value)


async def test_flows_run_over_tls_with_a_certificate_that_is_checked(
    authorities: dict[str, Authority],
) -> None:
    here = authorities["here"]
    with own_processes() as make:
        app = Argyll(url_of(started(make, here, "no"), here), namespace="t")

        @app.step(outputs="price")
        async def price(order: str) -> int:
            return 7

        async with app:
            engine = asyncio.create_task(app.run())
            flow = await app.start([price], {"order": "o"})
            assert await flow.result(timeout_ms=20_000) == {"price": 7}
            assert (await app.audit())["violations"] == []
            engine.cancel()
            await asyncio.gather(engine, return_exceptions=True)


async def test_a_certificate_of_another_authority_is_refused(authorities: dict[str, Authority]) -> None:
    with own_processes() as make:
        server = started(make, authorities["here"], "no")
        for words in await why_unreachable(url_of(server, authorities["other"])):
            assert words.startswith(f"cannot reach redis at {server.address} (its certificate is not trusted")


async def test_a_certificate_for_another_host_is_refused_unless_the_url_says_no(
    authorities: dict[str, Authority],
) -> None:
    elsewhere = authorities["elsewhere"]
    with own_processes() as make:
        server = started(make, elsewhere, "no")
        words = (
            f"cannot reach redis at {server.address} (its certificate is not trusted: "
            "IP address mismatch, certificate is not valid for '127.0.0.1')"
        )
        assert await why_unreachable(url_of(server, elsewhere)) == (words, words)
        store = RedisStore(url_of(server, elsewhere, "ssl_check_hostname=false"), "t")
        await store.open()
        await store.close()


async def test_a_server_that_asks_for_a_certificate_gets_the_one_of_the_url(
    authorities: dict[str, Authority],
) -> None:
    here = authorities["here"]
    with own_processes() as make:
        server = started(make, here, "yes")
        own = (f"ssl_certfile={here.certificate}", f"ssl_keyfile={here.key}")
        store = RedisStore(url_of(server, here, *own), "t")
        await store.open()
        await store.close()
        for words in await why_unreachable(url_of(server, here)):
            # what it says may be lost with the connection that it ends
            assert words.startswith(f"cannot reach redis at {server.address} (")


async def test_a_server_without_tls_gives_no_reply() -> None:
    """It takes the greeting for the beginning of a command."""
    with own_processes() as make:
        server = make().start()
        words = f"cannot reach redis at {server.address} (no reply in time)"
        assert await why_unreachable(f"rediss://{server.address}") == (words, words)


async def test_a_file_of_the_url_that_is_not_there_is_named(authorities: dict[str, Authority]) -> None:
    url = "rediss://127.0.0.1:1?ssl_ca_certs=/nowhere/ca.pem"
    store = RedisStore(url, "t")
    with pytest.raises(StoreUnavailable, match="no such file"):
        await store.open()
    await store.close()
