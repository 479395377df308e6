"""Fixtures: a private CA, an HTTPS server, settings that trust it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ocsp_stapling.settings import Settings, StatusPageSettings
from tests.unit.ca.server import StatusServer, make_certificates, status_server


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The CA bundle and the server's certificate with key."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def pages(certificates: tuple[Path, Path]) -> Iterator[StatusServer]:
    """A running status page server."""
    with status_server(certificates[1]) as server:
        yield server


@pytest.fixture
def trusting(certificates: tuple[Path, Path], tmp_path: Path) -> Settings:
    """Settings that trust the server's CA and keep their cache in a directory of the test."""
    own = StatusPageSettings(ca_bundle=str(certificates[0]), timeout_seconds=20)
    return Settings(state_directory=tmp_path, status_pages=own)
