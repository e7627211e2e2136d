"""The key goes to the origin of the request, and nowhere else."""

import pytest

from calpow.client.protocol.origin import leads_home, same_origin


@pytest.mark.parametrize(
    ("home", "url", "same"),
    [
        ("http://a/x", "http://a/y?z", True),
        ("http://a/x", "http://A:80/y", True),
        ("http://a/", "https://a/", True),
        ("https://a/", "http://a/", False),
        ("http://a:8080/", "https://a/", False),
        ("http://a/", "http://b/", False),
        ("http://a/", "http://a:81/", False),
        ("http://a/", "http://a.b/", False),
        ("http://a/", "http://a@b/", False),
        ("http://a/", "http://a:port/", False),
        ("http://a/", "//[", False),
    ],
)
def test_a_key_may_go_to_its_origin_and_to_the_same_with_tls(home: str, url: str, same: bool) -> None:
    assert same_origin(home, url) is same


@pytest.mark.parametrize(
    ("location", "home"),
    [
        ("", True),
        ("y", True),
        ("/y", True),
        ("//a/y", True),
        ("http://a//y", True),
        ("//b/y", False),
        ("http://b/y", False),
        ("////b/y", False),
        ("http:////b/y", False),
        ("/\t///b/y", False),
        ("http://[", False),
    ],
)
def test_the_key_is_not_sent_where_a_redirect_leads_away_or_is_ambiguous(location: str, home: bool) -> None:
    assert leads_home("http://a/x", "http://a/x", location) is home
