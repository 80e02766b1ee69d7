"""Which proxy leads to the API server: kubeconfig ``proxy-url``, else the environment as kubectl reads it. Pure.

Source: the rules of Go's ``net/http`` ``ProxyFromEnvironment``, which kubectl uses: ``HTTPS_PROXY`` (or lower case) for
https, ``HTTP_PROXY`` for http, never for localhost and loopback addresses, and ``NO_PROXY`` as a list of ``*``, names
(with their subdomains), ``.names`` (subdomains only), addresses and CIDR ranges, each with an optional port.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from reconcile.errors import ConfigurationError


def proxy_for(server: str, *, proxy_url: str = "", environ: Mapping[str, str]) -> str | None:
    """The URL of the proxy, or None for a direct connection.

    Raises:
        ConfigurationError: a proxy URL that cannot be used. Its user name and password are not shown.
    """
    if proxy_url:
        return _checked(proxy_url, "proxy-url")
    target = urlsplit(server)
    name = "HTTPS_PROXY" if target.scheme == "https" else "HTTP_PROXY"
    value = environ.get(name) or environ.get(name.lower()) or ""
    no_proxy = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    port = target.port or (443 if target.scheme == "https" else 80)
    if not value or not _uses_proxy(target.hostname or "", port, no_proxy):
        return None
    return _checked(value, name)


def _checked(value: str, field: str) -> str:
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        shown = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        raise ConfigurationError(f"{field} is not a URL; want http://host:port") from None
    if not parts.hostname:
        raise ConfigurationError(f"{field} names no host; want http://host:port")
    if parts.scheme != "http":
        raise ConfigurationError(
            f"{field} {shown}: only http:// proxies are supported (the tunnel is TLS all the same)"
        )
    return url


def _uses_proxy(host: str, port: int, no_proxy: str) -> bool:
    host = host.rstrip(".").lower()
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return False
    for entry in no_proxy.split(","):
        rule = entry.strip().lower()
        if rule == "*":
            return False
        if rule and _matches(rule, host, port, address):
            return False
    return True


def _matches(rule: str, host: str, port: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    if "/" in rule:
        try:
            return address is not None and address in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    rule, rule_port = _split_port(rule)
    if rule_port and rule_port != str(port):
        return False
    rule_address = _address(rule)
    if rule_address is not None:
        return rule_address == address
    rule = rule.removeprefix("*")
    if rule.startswith("."):
        return host.endswith(rule)
    return host == rule or host.endswith(f".{rule}")


def _split_port(rule: str) -> tuple[str, str]:
    if rule.startswith("["):
        inside, _, after = rule[1:].partition("]")
        return inside, after.removeprefix(":")
    if rule.count(":") == 1:
        name, _, port = rule.partition(":")
        return name, port
    return rule, ""


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
