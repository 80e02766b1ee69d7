"""Certificates for the servers of these tests."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from client_loopback import context_for

from reconcile.testing.envtest.certificate_authority import CertificateAuthority


@pytest.fixture(scope="session")
def authority() -> CertificateAuthority:
    return CertificateAuthority.create(datetime.now(UTC))


@pytest.fixture
def served_by(authority: CertificateAuthority, tmp_path: Path) -> ssl.SSLContext:
    return context_for(authority.serve(datetime.now(UTC), ["127.0.0.1"]), tmp_path)
