"""Who sent a request: only trusted proxies are believed."""

import pytest

from fanlight.forwarding import networks, source_of

TRUSTED = networks(["10.0.0.0/8", "192.0.2.1"])


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # a stranger's claim counts for nothing
        ("10.1.1.1", ["198.51.100.1"], "198.51.100.1"),
        ("192.0.2.1", ["198.51.100.1, 10.2.2.2"], "198.51.100.1"),  # two proxies in a row
        ("10.1.1.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),  # what the client itself put in front
        ("10.1.1.1", ["6.6.6.6", "198.51.100.1"], "198.51.100.1"),
        ("10.1.1.1", [], "10.1.1.1"),
        ("10.1.1.1", ["not an address"], "10.1.1.1"),
        ("10.1.1.1", ["2001:db8::1"], "2001:db8::1"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_the_nearest_untrusted_address_is_the_source(peer: str, headers: list[str], expected: str) -> None:
    assert source_of(peer, headers, TRUSTED) == expected


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match=r"proxy\.example\.org"):
        networks(["proxy.example.org"])
