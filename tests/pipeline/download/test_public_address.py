"""Which addresses are public."""

from ipaddress import ip_address

import pytest

from t2i_shards.pipeline.download.public_address import Allowed, is_public

PUBLIC = [
    *("8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "168.63.129.17"),
    *("2606:4700::1111", "2a00:1450:4001::200e", "3ffe::1"),
]
WRAPPED_PUBLIC = ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]
PRIVATE = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "169.254.169.254", "172.16.0.1"),
    *("192.0.0.8", "192.0.2.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
    *("239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::127.0.0.1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1"),
    *("168.63.129.16", "192.88.99.1", "3fff::1", "3fff:fff::1"),
    *("2001:db8::1", "100::1", "64:ff9b:1::808:808", "4000::1", "e000::1"),
]
WRAPPED_PRIVATE = [
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe"),
    *("::ffff:168.63.129.16", "64:ff9b::168.63.129.16"),
    *("2002:7f00:1::1", "2002:a00:1::1", "2001:0:7f00:1::8.8.8.8", "2001:0:4136:e378:8000:63bf:80ff:fffe"),
]


@pytest.mark.parametrize("address", PUBLIC + WRAPPED_PUBLIC)
def test_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", PRIVATE + WRAPPED_PRIVATE)
def test_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    ("entry", "host", "address"),
    [
        ("127.0.0.1", "any.example", "127.0.0.1"),
        ("10.0.0.0/8", "any.example", "10.9.8.7"),
        ("Pictures.lan", "pictures.lan", "192.168.3.4"),
        ("::1", "any.example", "::1"),
        ("fd00::/8", "any.example", "fd12::1"),
    ],
)
def test_an_exception_opens_what_it_names(entry: str, host: str, address: str) -> None:
    assert Allowed((entry,)).may_reach(host, address)
    assert not Allowed(()).may_reach(host, address)
    assert not Allowed((entry,)).may_reach("other.lan", "192.168.3.5")
    assert not Allowed((entry,)).may_reach("other.lan", "169.254.169.254")


def test_what_is_no_address_is_not_reached() -> None:
    assert not Allowed(("0.0.0.0/0", "::/0")).may_reach("any.example", "not an address")
