"""Proxies from the environment, as kubectl reads it."""

from __future__ import annotations

import pytest

from reconcile.client.proxy import proxy_for
from reconcile.errors import ConfigurationError

SERVER = "https://api.example.com:6443"


@pytest.mark.parametrize(
    ("server", "environ", "proxy"),
    [
        (SERVER, {}, None),
        (SERVER, {"HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
        (SERVER, {"https_proxy": "p:3128"}, "http://p:3128"),
        (SERVER, {"HTTP_PROXY": "http://p:3128"}, None),
        (SERVER, {"ALL_PROXY": "http://p:3128"}, None),
        ("http://api.example.com", {"HTTP_PROXY": "http://p:3128"}, "http://p:3128"),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": "http://p:3128"}, None),
        ("https://[::1]:6443", {"HTTPS_PROXY": "http://p:3128"}, None),
        ("https://localhost:6443", {"HTTPS_PROXY": "http://p:3128"}, None),
        (SERVER, {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "*"}, None),
        (SERVER, {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "example.com"}, None),
        (SERVER, {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "a.com, .example.com"}, None),
        (SERVER, {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "*.example.com"}, None),
        (SERVER, {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "api.example.com:6443"}, None),
        (SERVER, {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "api.example.com:443"}, "http://p:3128"),
        (SERVER, {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "ample.com"}, "http://p:3128"),
        (SERVER, {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": ".api.example.com"}, "http://p:3128"),
        ("https://10.1.2.3:6443", {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "10.0.0.0/8"}, None),
        ("https://10.1.2.3:6443", {"HTTPS_PROXY": "http://p:3128", "no_proxy": "10.1.2.3"}, None),
        ("https://[fd00::1]:6443", {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "[fd00::1]:6443"}, None),
        ("https://10.1.2.3:6443", {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "10.0.0.0/99"}, "http://p:3128"),
    ],
)
def test_the_environments_proxies(server: str, environ: dict[str, str], proxy: str | None) -> None:
    """The table of Go's ProxyFromEnvironment, which kubectl obeys."""
    assert proxy_for(server, environ=environ) == proxy


def test_the_kubeconfigs_proxy_wins_over_the_environment() -> None:
    """proxy-url is about this cluster, NO_PROXY about the machine."""
    environ = {"HTTPS_PROXY": "http://other:1", "NO_PROXY": "*"}
    assert proxy_for(SERVER, proxy_url="http://p:3128", environ=environ) == "http://p:3128"


@pytest.mark.parametrize(
    "url", ["socks5://u:hunter2@p:1080", "https://u:hunter2@p:1", "http://", "http://p:port", "ftp://p"]
)
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(url: str) -> None:
    """Refused when the client is made, by the name of the field."""
    with pytest.raises(ConfigurationError, match="proxy-url") as caught:
        proxy_for(SERVER, proxy_url=url, environ={})
    assert "hunter2" not in str(caught.value)
