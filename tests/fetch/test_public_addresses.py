"""Which addresses a stranger may have this server connect to."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.fetch.public_addresses import Address, is_public

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "2606:4700:4700::1111",
    "2a00:1450:4001::8",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]
INNER = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", INNER)
def test_an_inner_or_special_address_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


SPECIAL = [IPv4Network(text) for text in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/16")] + [
    IPv6Network(text) for text in ("2001::/16", "2002::/16", "64:ff9b::/32", "::/64", "fe80::/10", "fc00::/7")
]


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    """Any address, those near the special ranges as often as all others."""
    net = draw(st.sampled_from([IPv4Network("0.0.0.0/0"), IPv6Network("::/0"), *SPECIAL]))
    number = draw(st.integers(int(net.network_address), int(net.broadcast_address)))
    return IPv6Address(number) if net.version == 6 else IPv4Address(number)


@given(addresses())
def test_no_address_is_public_that_the_standard_library_calls_inner(address: Address) -> None:
    translated = isinstance(address, IPv6Address) and address in IPv6Network("64:ff9b::/96")

    if is_public(address) and not translated and getattr(address, "ipv4_mapped", None) is None:
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_private
        assert not address.is_reserved
        assert not address.is_loopback


@given(st.integers(2**24, 2**32 - 1).map(IPv4Address))
def test_an_ordinary_global_address_is_public(address: IPv4Address) -> None:
    odd = [
        IPv4Network(text) for text in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "224.0.0.0/3")
    ]

    if address.is_global and not any(address in net for net in odd):
        assert is_public(address)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_address_wrapped_in_ipv6_is_as_public_as_the_one_inside(inner: IPv4Address) -> None:
    assert is_public(IPv6Address(f"::ffff:{inner}")) == is_public(inner)
    assert is_public(IPv6Address((0x64FF9B << 96) | int(inner))) == is_public(inner)
    assert not is_public(IPv6Address((0x2002 << 112) | int(inner) << 80))
