"""Redaction: what looks like a credential goes, what would fool a terminal is spelled out."""

import time

import pytest

from reconcile.instrumentation.redaction import REDACTED, one_line, redact, spell_out

CANARY = "c4n4ry-Zm9vYmFy"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c4n4ry-Zm9vYmFy"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"authorization: Basic {CANARY}",
        f"{{'Authorization': 'Bearer {CANARY}'}}",
        f'{{"Authorization":"Bearer {CANARY}"}}',
        f'{{\\"Authorization\\": \\"Bearer {CANARY}\\"}}',
        f"('Authorization', 'Bearer {CANARY}')",
        f"sent bearer {CANARY} to the server",
        f"token review of {TOKEN} failed",
        f"GET https://admin:{CANARY}@10.0.0.1:6443/api refused",
        f"proxy http://{CANARY}@proxy:3128 unreachable",
        f"-----BEGIN EC PRIVATE KEY-----\n{CANARY.replace('-', '')}\n-----END EC PRIVATE KEY-----",
        f'{{"kind":"Secret","data":{{"password":"{CANARY}"}}}}',
        f"{{'kind': 'Secret', 'stringData': {{'password': '{CANARY}'}}}}",
        f'{{"kubectl.kubernetes.io/last-applied-configuration":"{{\\"data\\":{{\\"x\\":\\"{CANARY}\\"}}}}"}}',
        f'{{\'kubectl.kubernetes.io/last-applied-configuration\': \'{{"data":{{"x":"{CANARY}"}}}}\'}}',
        f'{{"status":{{"token":"{CANARY}","clientKeyData":""}}}}',
        f"{{'password': '{CANARY}'}}",
        f'{{"client-key-data": "{CANARY}"}}',
        f"POST /token?access_token={CANARY}&x=1",
        f"refresh_token={CANARY}; expires",
    ],
)
def test_credentials_are_cut_out(text):
    """Each shape in which Kubernetes and HTTP show a credential is recognised."""
    assert CANARY.replace("-", "") not in redact(text).replace("-", "")
    assert REDACTED in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "GET /api/v1/namespaces/default/pods/web: 401 Unauthorized: token expired",
        "the bearer of bad news",
        "https://10.0.0.1:6443/apis/batch/v1/jobs?labelSelector=a%3Db",
        "pods 'web' is forbidden: User \"system:anonymous\" cannot get resource",
        "data of 3 objects decoded in 0.1 s",
        "image registry/app@sha256:abcdef could not be pulled",
        "see mailto:somebody@example.com",
    ],
)
def test_what_an_operator_needs_stays(text):
    """A reason to act is not mistaken for a secret."""
    assert redact(text) == text


def test_text_around_a_secret_stays():
    """Only the credential goes."""
    assert redact(f"before 'Authorization': 'Bearer {CANARY}', after") == (
        f"before 'Authorization': 'Bearer {REDACTED}', after"
    )


@pytest.mark.parametrize(
    "text",
    [
        '"data": {' * 50_000,
        "-----BEGIN RSA PRIVATE KEY-----" * 10_000,
        '"token": "' * 50_000,
        "://" * 200_000,
        "://a" * 100_000,
        "eyJ" * 150_000,
        "eyJaaaaaaaa." * 40_000,
        "authorization: " * 30_000,
        "bearer " * 60_000,
        '"password": "\\' * 30_000,
        "last-applied-configuration: " * 20_000,
        "token=" * 70_000,
        "\u202e" * 200_000,
    ],
)
def test_hostile_text_takes_linear_time(text):
    """No text stalls the loop that logs it: half a megabyte of each pattern's beginnings is done within 2 s."""
    started = time.process_time()
    one_line(redact(text))
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\rb", "a\\x0db"),
        ("a\x9bb", "a\\x9bb"),
        ("user\u202egpj.exe", "user\\u202egpj.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("line\u2028separator\x85next", "line\\u2028separator\\x85next"),
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("日本語 ü ✓", "日本語 ü ✓"),
        ("two\n\tlines", "two\n\tlines"),
    ],
)
def test_unsafe_characters_are_spelled_out(text, safe):
    """What a terminal or a reader would be fooled by is shown as its number; letters of any script stay."""
    assert spell_out(text) == safe


def test_one_line_has_no_line_break_of_any_kind():
    """A log line stays one line."""
    text = "".join(chr(code) for code in range(0x3000))
    assert len(one_line(text).splitlines()) == 1
