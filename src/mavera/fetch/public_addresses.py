"""
Tell public network addresses, which a stranger may have this server connect to, from all others.

    8.8.8.8  2606:4700::1111            public
    ::ffff:8.8.8.8  64:ff9b::808:808    as public as the IPv4 address inside
    everything else                     not: private, loopback, link-local, carrier NAT, multicast,
                                        documentation, 6to4, Teredo, reserved, cloud metadata

The test is stricter than `ipaddress.is_global`, which differs between Python versions and calls
multicast and some metadata services global.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_REFUSED_IPV4 = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments; Oracle's metadata service is in it
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv4Network("168.63.129.16/32"),  # Azure's host, which looks public and is not
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_REFUSED_IPV6 = (
    IPv6Network("2001::/23"),  # protocol assignments: Teredo, ORCHID, benchmarking
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4: an IPv4 address inside, reached by relays nobody answers for
    IPv6Network("3fff::/20"),  # documentation
)
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Say whether the whole internet can reach `address`."""
    plain = unwrap(address)
    if isinstance(plain, IPv4Address):
        special = plain.is_multicast or plain.is_reserved or any(plain in net for net in _REFUSED_IPV4)
        return plain.is_global and not special
    if plain not in _GLOBAL_UNICAST or plain.scope_id is not None:
        return False
    return plain.is_global and not any(plain in net for net in _REFUSED_IPV6)


def unwrap(address: Address) -> Address:
    """Return the IPv4 address inside `address`, to which a connection leads, or else `address` itself."""
    if isinstance(address, IPv4Address) or address.scope_id is not None:
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
