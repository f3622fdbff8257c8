"""Where step calls may go: what is checked is the address that is connected to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from bad_server import bad_server, reply
from step_words import http_step, job_of, outcome_of

from argyll_redis import AppConfig, InvalidInput
from argyll_redis.core.commands import Broken, Succeeded, Unfinished
from argyll_redis.steps.http_address import read_allow_list
from argyll_redis.steps.http_client import AiohttpClient, CallRefused, Look
from argyll_redis.steps.http_request import HttpRequest

pytestmark = pytest.mark.anyio


def names(*answers: Sequence[str]) -> Look:
    """Looks names up: gives these addresses, the last ones for good."""
    left = list(answers)

    async def look(host: str, port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return look


async def refusal(url: str, *, allow: tuple[str, ...] = (), look: Look | None = None) -> str:
    """Why a call is not made."""
    async with AiohttpClient(read_allow_list(allow), look=look) as client:
        with pytest.raises(CallRefused) as refused:
            await client.send(HttpRequest("GET", url))
    return str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "[fe80::1]",
        "[febf::1]",
        "[fe80::1%25eth0]",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[::169.254.169.254]",
        "[64:ff9b::169.254.169.254]",
        "[64:ff9b:1::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "0.0.0.0",
        "0.1.2.3",
        "[::]",
        "[::ffff:0.0.0.0]",
        "224.0.0.1",
        "[ff02::1]",
        "255.255.255.255",
        "100.100.100.200",
        "168.63.129.16",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
    ],
)
async def test_an_address_that_is_closed_is_not_called(address: str) -> None:
    assert (await refusal(f"http://{address}/")).startswith("step calls do not go there: ")


@pytest.mark.parametrize(
    "address", ["169.254.1.1", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "0.0.0.0"]
)
async def test_a_name_of_a_closed_address_is_not_called(address: str) -> None:
    found = await refusal("http://shop.test/", look=names([address]))
    assert found.startswith("step calls do not go there: shop.test is ")


async def test_one_closed_address_closes_a_name() -> None:
    found = await refusal("http://shop.test/", look=names(["127.0.0.1", "169.254.169.254"]))
    assert found == "step calls do not go there: shop.test is 169.254.169.254, which is link-local"


@pytest.mark.parametrize("host", ["127.1", "2130706433", "017700000001", "127.0.0.1.", "1.2.3.4.5"])
async def test_numbers_that_are_read_in_more_than_one_way_are_not_called(host: str) -> None:
    assert (await refusal(f"http://{host}/")).endswith("is not how an address is written (use all its parts)")


async def test_a_number_in_disguise_is_looked_up_and_then_checked() -> None:
    """The system reads it as 169.254.169.254."""
    assert "link-local" in await refusal("http://0xa9fea9fe/")


async def test_the_address_that_was_checked_is_the_one_that_is_called() -> None:
    """A name that means something else at the next look is looked up once a connection."""
    async with bad_server(reply(200, b'{"found": 1}', Connection="close")) as server:
        looked: list[str] = []

        async def look(host: str, port: int) -> Sequence[str]:
            looked.append(host)
            return ["127.0.0.1"] if len(looked) == 1 else ["169.254.169.254"]

        outcome = await outcome_of(job_of(http_step(f"http://shop.test:{server.port}/")), look=look)
    assert (outcome, looked) == (Succeeded({"found": 1}), ["shop.test"])
    assert server.asked[0].headers["host"] == f"shop.test:{server.port}"


async def test_a_name_that_comes_to_mean_a_closed_address_is_called_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("argyll_redis.steps.http_client.DNS_CACHE_S", 0)
    look = names(["127.0.0.1"], ["169.254.169.254"])
    async with bad_server(reply(200, b"{}", Connection="close")) as server:
        request = HttpRequest("GET", f"http://shop.test:{server.port}/")
        async with AiohttpClient(read_allow_list(()), look=look) as client:
            await client.send(request)
            with pytest.raises(CallRefused, match="link-local"):
                await client.send(request)
    assert len(server.asked) == 1


@pytest.mark.contract("outcomes", "Link-local addresses are never called.")
async def test_a_closed_address_fails_the_work_for_good_and_is_named() -> None:
    outcome = await outcome_of(job_of(http_step("http://169.254.169.254/latest/meta-data")))
    assert outcome == Broken("step calls do not go there: 169.254.169.254 is link-local")


async def test_a_host_that_is_no_name_fails_the_work() -> None:
    outcome = await outcome_of(job_of(http_step("http://a..b/")))
    assert isinstance(outcome, Broken | Unfinished)


# --------------------------------------------------------------------- allow-list


@pytest.mark.parametrize(
    ("allow", "host"),
    [
        (("127.0.0.1",), "127.0.0.1"),
        (("127.0.0.0/8",), "127.0.0.1"),
        (("10.0.0.0/8", "127.0.0.0/8"), "shop.test"),
        (("shop.test",), "shop.test"),
        (("SHOP.test.",), "Shop.TEST"),
        ((), "127.0.0.1"),
    ],
)
async def test_what_is_on_the_allow_list_is_called(allow: tuple[str, ...], host: str) -> None:
    async with bad_server(reply(200, b'{"found": 1}')) as server:
        job = job_of(http_step(f"http://{host}:{server.port}/"))
        assert await outcome_of(job, allow=allow, look=names(["127.0.0.1"])) == Succeeded({"found": 1})


@pytest.mark.parametrize(
    ("allow", "host"),
    [(("10.0.0.0/8",), "127.0.0.1"), (("shop.test",), "127.0.0.1"), (("shop.test",), "a.shop.test"),
     (("10.0.0.0/8",), "shop.test")],
)  # fmt: skip
async def test_what_is_not_on_the_allow_list_is_not_called(allow: tuple[str, ...], host: str) -> None:
    found = await refusal(f"http://{host}/", allow=allow, look=names(["127.0.0.1"]))
    assert found == f"step calls do not go there: {host} is not on the allow-list of this engine"


async def test_of_a_names_addresses_only_those_on_the_allow_list_are_called() -> None:
    async with bad_server(reply(200, b'{"found": 1}')) as server:
        job = job_of(http_step(f"http://shop.test:{server.port}/"))
        look = names(["10.255.255.1", "127.0.0.1"])
        assert await outcome_of(job, allow=("127.0.0.0/8",), look=look) == Succeeded({"found": 1})


async def test_the_allow_list_opens_no_closed_address() -> None:
    assert "link-local" in await refusal("http://169.254.169.254/", allow=("169.254.0.0/16",))
    found = await refusal("http://shop.test/", allow=("shop.test",), look=names(["169.254.169.254"]))
    assert "link-local" in found


@pytest.mark.parametrize(
    "entry", ["http://a.test", "10.0.0.0/99", "10.0.0.1/8", "a b", "", "a/b", "*.test", "1.2.3"]
)
def test_an_entry_of_the_allow_list_that_means_nothing_is_refused(entry: str) -> None:
    with pytest.raises(InvalidInput, match=r"http_allow: .* is no host name, address or network"):
        AppConfig(http_allow=("a.test", entry))


async def test_a_name_is_looked_up_by_the_system() -> None:
    async with bad_server(reply(200, b'{"found": 1}')) as server:
        outcome = await outcome_of(job_of(http_step(f"http://localhost:{server.port}/")))
    assert outcome == Succeeded({"found": 1})


@pytest.mark.parametrize(
    ("host", "name"),
    [("büro.test", "xn--bro-hoa.test"), ("BÜRO.test", "xn--bro-hoa.test"), ("a_b.test", "a_b.test")],
)
async def test_a_name_in_any_script_is_called(host: str, name: str) -> None:
    looked: list[str] = []

    async def look(host: str, port: int) -> Sequence[str]:
        looked.append(host)
        return ["127.0.0.1"]

    async with bad_server(reply(200, b'{"found": 1}')) as server:
        outcome = await outcome_of(job_of(http_step(f"http://{host}:{server.port}/ü?q=ü")), look=look)
    assert (outcome, looked) == (Succeeded({"found": 1}), [name])
    assert server.asked[0].path == "/%C3%BC?q=%C3%BC"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1\\@169.254.169.254/",
        "http://169.254.169.254\\@127.0.0.1/",
        "http:///",
        "http://[::1",
        "http://",
    ],
)
async def test_a_url_that_parsers_read_differently_is_not_called(url: str) -> None:
    assert await refusal(url, look=names(["127.0.0.1"]))
