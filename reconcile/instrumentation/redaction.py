"""Redaction: secrets are cut out of a text, and characters that would fool a terminal or a reader are spelled out.

Texts in logs hold parts of objects and of servers' answers, which others wrote.

Guarantees:
    * Credentials in the shapes in which Kubernetes shows them do not pass: Authorization headers, bearer tokens, JSON
      web tokens, URL user info, private keys, token and password fields, ``data``/``stringData`` of a Secret, and the
      last-applied annotation, which repeats them.
    * No control character, escape sequence, invisible or direction-changing character passes as itself, so one record
      cannot look like two, recolour a terminal or hide what it says. A lone surrogate passes as its number.

Caveats:
    A secret of no known shape (an opaque password within free text) is not recognised.

Every pattern takes time linear in its text: a hostile text must not stall the loop that logs it.
"""

from __future__ import annotations

import re

REDACTED = "[redacted]"

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,32}PRIVATE KEY-----)?", REDACTED),
        # A header, as HTTP, JSON or Python's repr shows it: the scheme stays, what follows goes.
        (
            r"(?i)(authorization\\?[\"']?\s?[:=,]\s?\\?[\"']?(?:bearer|basic|negotiate)?\s?)[^\s\"',;)}\]]+",
            rf"\1{REDACTED}",
        ),
        (r"(?i)\b(bearer\s)[A-Za-z0-9._~+/=-]{6,}", rf"\1{REDACTED}"),
        (r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?", REDACTED),
        (r"://[^/\s@\"']{1,1024}@", f"://{REDACTED}@"),
        (
            r"(last-applied-configuration\\?[\"']?\s?[:=]\s?)(?:\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?|\{[^\n]*)",
            rf"\1{REDACTED}",
        ),
        (r"((?<![A-Za-z])(?:data|stringData)\\?[\"']\s?:\s?)\{[^{}]*\}?", rf"\1{REDACTED}"),
        (
            r"(?i)((?:token|password|passwd|secret|client-key-data|tls\.key)\\?[\"']\s?:\s?\\?)(?:\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?)",
            rf"\1{REDACTED}",
        ),
        (r"(?i)\b((?:access_|id_|refresh_)?token|password|client_secret)=[^\s&\"',;)}\]]+", rf"\1={REDACTED}"),
    )
)

# C0 but newline and tab, DEL, C1; soft hyphen; zero-width, direction marks and overrides, line and paragraph
# separators, invisible operators, byte order mark, interlinear annotation; tag characters; lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def redact(text: str) -> str:
    """``text`` without what looks like a credential."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def spell_out(text: str) -> str:
    r"""``text`` with unsafe characters as ``\x1b`` or ``\u202e``. Newline and tab stay."""
    return _UNSAFE.sub(_spelled, text)


def one_line(text: str) -> str:
    """``spell_out``, and newlines and tabs too."""
    return spell_out(text).replace("\n", "\\n").replace("\t", "\\t")
