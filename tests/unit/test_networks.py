"""HTTP_DENY as it is written, and which addresses it means: judged as text, nothing is connected to."""

import socket

import pytest

from tifftockd.config import HTTP_DENY, load_config
from tifftockd.config.networks import WORDS, parse_networks
from tifftockd.errors import ConfigError
from tifftockd.handlers.egress import Denied, denied_networks, find, is_denied

METADATA = [
    # as IPv4, by every spelling that inet_aton(3) takes
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0XA9FEA9FE",
    "025177524776",
    "0251.0376.0251.0376",
    "0xa9.0xfe.0xa9.0xfe",
    "0xa9.0376.169.0xfe",
    "169.254.43518",
    "169.254.0xa9fe",
    "169.16689662",
    "0xa9.0xfea9fe",
    "0251.077524776",
    "00000000251.254.169.254",
    # in other scripts
    "１６９.２５４.１６９.２５４",
    "①⑥⑨.②⑤④.①⑥⑨.②⑤④",
    "169。254。169。254",
    "169．254．169．254",
    # within IPv6
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::FFFF:A9FE:A9FE",
    "0:0:0:0:0:ffff:a9fe:a9fe",
    "0000:0000:0000:0000:0000:ffff:169.254.169.254",
    "::169.254.169.254",
    "::a9fe:a9fe",
    "::ffff:0:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "0064:ff9b:0:0:0:0:a9fe:a9fe",
    "64:ff9b:1::169.254.169.254",
    "64:ff9b:1:a9fe:a9:fe00::",
    "64:ff9b:1:a9fe:a9:fe00:0:1",
    "64:ff9b:1:a9:fe:a9fe::",
    "64:ff9b:1:0:a9:fea9:fe00:0",
    "2002:a9fe:a9fe::",
    "2002:a9fe:a9fe:1:2:3:4:5",
    "2001:0:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:5601:5601",
    "2001:db8::5efe:169.254.169.254",
    "2001:db8::200:5efe:a9fe:a9fe",
    # the others of that word
    "169.254.0.0",
    "169.254.255.255",
    "fe80::1",
    "fe80::1%1",
    "224.0.0.1",
    "ff02::1",
    "febf:ffff::1",
    "fd00:ec2::254",
    "fd20:ce::254",
]

LOOPBACK = [
    "127.0.0.1", "127.1", "127.255.255.254", "2130706433", "0x7f.1", "017700000001", "0177.0.0.1", "0", "0.0", "0x0",
    "0.0.0.0", "0.0.0.1", "::", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::127.0.0.1",
    "64:ff9b::127.0.0.1", "64:ff9b::", "2002:7f00:1::", "2002::", "2001:0:7f00:1::1", "localhost", "LOCALHOST",
    "１２７.０.０.１", "127。0。0。1", "127.0.0.01", "0x7F000001", "0x7f.0x0.0x0.0x1", "00", "0:0:0:0:0:ffff:7f00:1",
    "::7f00:1", "::ffff:0:127.0.0.1", "64:ff9b:1::7f00:1", "2001:db8::5efe:7f00:1",
]  # fmt: skip

PRIVATE = [
    "10.0.0.1", "10.255.255.255", "167772161", "012.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1",
    "192.168.257", "100.64.0.1", "100.127.255.255", "192.0.0.1", "198.18.0.1", "198.19.255.255", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "4294967295", "255.255.255.255", "fc00::1", "fdff::1", "fd00::1", "fec0::1",
    "ff05::c", "100.100.100.200", "192.0.0.192", "172.16.257", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1",
    "64:ff9b:1::192.168.0.1", "2002:c0a8:1::", "2001:0:4136:e378:8000:63bf:f5ff:fffe",
]  # fmt: skip

ELSEWHERE = [
    "8.8.8.8", "134744072", "1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0",
    "192.0.1.0", "198.17.255.255", "198.20.0.0", "203.0.113.1", "223.255.255.255", "2606:4700::1111", "fe7f::1",
    "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "64:ff9b:1::8.8.8.8", "2002:808:808::", "2001:0:808:808::f7f7:f7f7",
    "2001:4860:4860::8888", "2001:db8::5efe:8.8.8.8",
]  # fmt: skip


def judge(host, word):
    """What `find` makes of a host; where it is reached by no name server."""
    assert host == "localhost" or socket.getaddrinfo(host, 80), "the resolver does not take this spelling"
    return find(host, 80, parse_networks(word), kind=socket.SOCK_STREAM)


@pytest.mark.parametrize(
    ("word", "host"),
    [
        (word, host)
        for word, hosts in (("link-local", METADATA), ("loopback", LOOPBACK), ("private", PRIVATE))
        for host in hosts
    ],
)
def test_an_address_is_denied_in_every_spelling(word, host):
    with pytest.raises(Denied, match="^HTTP_DENY forbids its address"):
        judge(host, word)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_what_is_beside_the_denied_networks_is_allowed(host):
    assert judge(host, "loopback private link-local")


@pytest.mark.parametrize("word", [*WORDS, "203.0.113.0/24", "2001:db8::/32"])
def test_one_word_does_not_stand_for_another(word):
    examples = {
        "loopback": "127.0.0.1",
        "private": "192.168.0.1",
        "link-local": "169.254.0.1",
        "203.0.113.0/24": "203.0.113.9",
        "2001:db8::/32": "2001:db8::1",
    }
    denied = {name for name, address in examples.items() if is_denied(address, parse_networks(word))}
    assert denied == {word}


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("127.0.0.0/8", "0.0.0.0"),
        ("127.0.0.0/8", "::ffff:0.0.0.0"),
        ("127.0.0.0/8", "64:ff9b::"),
        ("::1", "::"),
        ("127.0.0.1", "::"),
    ],
)
def test_no_address_at_all_is_this_machines(network, address):
    assert is_denied(address, parse_networks(network))


def test_a_zone_does_not_hide_an_address():
    assert is_denied("fe80::1%eth0", parse_networks("link-local"))
    assert is_denied("fe80::1%169.254.0.1", parse_networks("link-local"))


@pytest.mark.parametrize("written", ["10.0.0.0/8", "10.0.0.0/255.0.0.0", "::ffff:10.0.0.0/104"])
def test_a_network_is_meant_in_each_way_to_reach_it(written):
    networks = parse_networks(written)
    for address in ("10.9.8.7", "::ffff:10.9.8.7", "64:ff9b::10.9.8.7", "2002:a09:807::1"):
        assert is_denied(address, networks)
    assert not is_denied("11.0.0.1", networks)


def test_a_single_address_is_a_network_of_one():
    networks = parse_networks("192.0.2.7 2001:db8::7")
    assert [is_denied(one, networks) for one in ("192.0.2.7", "192.0.2.8", "2001:db8::7", "2001:db8::8")] == [
        True, False, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["loopback private", "loopback,private", " loopback ,\tprivate, ", "private loopback"])
def test_words_are_separated_by_spaces_or_commas(text):
    assert set(parse_networks(text)) == {*parse_networks("loopback"), *parse_networks("private")}


@pytest.mark.parametrize("env", [{}, {"HTTP_DENY": ""}, {"HTTP_DENY": " "}])
def test_unset_is_link_local(env):
    assert denied_networks(env) == parse_networks(HTTP_DENY) == parse_networks("link-local")


def test_none_denies_nothing():
    assert denied_networks({"HTTP_DENY": "none"}) == ()


@pytest.mark.parametrize(
    ("text", "named", "right"),
    [
        ("linklocal", "'linklocal'", "neither one of loopback, private, link-local nor a network"),
        ("Loopback", "'Loopback'", "neither one of loopback"),
        ("loopback, 10.0.0/8", "'10.0.0/8'", "write one like 10.0.0.0/8 or 2001:db8::/32"),
        ("loopback;private", "'loopback;private'", "neither one of"),
        ("10.0.0.0/33", "'10.0.0.0/33'", "neither one of"),
        ("10.0.0.1/8", "'10.0.0.1/8'", "write 10.0.0.0/8"),
        ("2001:db8::1/32", "'2001:db8::1/32'", "write 2001:db8::/32"),
        ("010.0.0.0/8", "'010.0.0.0/8'", "neither one of"),
        ("fe80::%eth0/64", "'fe80::%eth0/64'", "neither one of"),
        ("example.org", "'example.org'", "neither one of"),
        ("loopback none", "'none'", "write none alone"),
        (",", "','", "write none to deny nothing"),
    ],
)
def test_a_word_that_means_nothing_is_named_at_the_start(text, named, right, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refused:
        load_config({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": "/run/user/1", "HTTP_DENY": text})
    assert str(refused.value).startswith(f"HTTP_DENY is {named}: ")
    assert right in str(refused.value)
