"""Which addresses step calls may go to.

Steps live on this machine and in private networks, so those are open. Closed to everybody are addresses
that no step lives at and that give things away: link-local ones, where clouds tell a machine its secrets,
and the like. What is checked is the address that is then connected to, never the name alone: a name may
mean something else a moment later. An allow-list, where one is set, closes everything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

CLOSED: tuple[tuple[Network, str], ...] = (
    (ip_network("0.0.0.0/8"), "is no address of a machine"),
    (ip_network("::/128"), "is no address of a machine"),
    (ip_network("169.254.0.0/16"), "is link-local"),
    (ip_network("fe80::/10"), "is link-local"),
    (ip_network("224.0.0.0/4"), "is a multicast address"),
    (ip_network("ff00::/8"), "is a multicast address"),
    (ip_network("240.0.0.0/4"), "is reserved"),
    (ip_network("100.100.100.200/32"), "is where a cloud keeps a machine's metadata"),
    (ip_network("168.63.129.16/32"), "is where a cloud keeps a machine's metadata"),
    (ip_network("192.0.0.192/32"), "is where a cloud keeps a machine's metadata"),
    (ip_network("fd00:ec2::254/128"), "is where a cloud keeps a machine's metadata"),
    (ip_network("fd20:ce::254/128"), "is where a cloud keeps a machine's metadata"),
)
"""Networks that no step is called in, and why."""

_EMBEDDING = (ip_network("::/96"), ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
"""IPv6 networks whose last 32 bits are an IPv4 address that a router may turn them into."""
_LOOPBACK = IPv6Address("::1")


@dataclass(frozen=True, slots=True)
class AllowList:
    """Where step calls may go, of what is not closed to all; empty allows everything."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.hosts or self.networks)

    def allows(self, host: str, address: Address) -> bool:
        """Whether a host may be called at an address."""
        if not self or plain_host(host) in self.hosts:
            return True
        return any(form in network for form in _same(address) for network in self.networks)


def read_allow_list(entries: Sequence[str]) -> AllowList:
    """Reads host names, addresses and networks (`10.0.0.0/8`). Raises `ValueError` naming a wrong one."""
    hosts: set[str] = set()
    networks: list[Network] = []
    for entry in entries:
        try:
            networks.append(ip_network(entry))
        except ValueError:
            if not _is_host(entry):
                raise ValueError(f'"{entry:.80}" is no host name, address or network') from None
            hosts.add(plain_host(entry))
    return AllowList(frozenset(hosts), tuple(networks))


def plain_host(host: str) -> str:
    """A host name as it is compared: in lower case, without the dot of the root."""
    return host.lower().removesuffix(".")


def literal(host: str) -> Address | None:
    """The address that a host is written as; None for a name.

    Raises `ValueError` for numbers that are read in more than one way, such as `127.1` or `2130706433`.
    """
    if ":" in host:
        return ip_address(host.partition("%")[0])
    if host.replace(".", "").isdigit():
        return IPv4Address(host)
    return None


@lru_cache(1024)  # it is asked at every call
def closed_because(address: Address) -> str:
    """Why an address is closed to all step calls, as a clause; empty when it is not."""
    return next(
        (why for form in _forms(address) for network, why in CLOSED if form in network),
        "",
    )


def _same(address: Address) -> Iterator[Address]:
    """An address, and the IPv4 address that it is another way to write."""
    yield address
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        yield address.ipv4_mapped


def _forms(address: Address) -> Iterator[Address]:
    """An address, and the IPv4 addresses within it that a packet to it may end up at."""
    yield from _same(address)
    if not isinstance(address, IPv6Address) or address == _LOOPBACK:
        return
    if address.sixtofour is not None:
        yield address.sixtofour
    yield from address.teredo or ()
    if any(address in network for network in _EMBEDDING):
        yield IPv4Address(int(address) & 0xFFFF_FFFF)


def _is_host(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    return all(label and label.replace("-", "").replace("_", "").isalnum() for label in labels) and not (
        text.replace(".", "").isdigit()
    )
