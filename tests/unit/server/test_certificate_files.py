from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from ocsp_stapling.server import certificate_files, certificate_memory
from ocsp_stapling.server.certificate_files import read_all
from ocsp_stapling.server.certificate_memory import CACHE_NAME, NOT_READ, CertificateFiles, CertificateReading
from tests.bench.certificate_files import URL, make_combined_files
from tests.machine.pki import AuthorityKeys, new_key, new_rsa_key
from tests.machine.shape import Authority, SitePlan
from tests.unit.ocsp.authority import base, issue, make_authority, pem


@pytest.fixture(scope="session")
def combined(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return [path.read_bytes() for path in make_combined_files(tmp_path_factory.mktemp("tls"), 3)]


def put(base: Path, contents: list[bytes]) -> list[Path]:
    paths = [base / f"{number}.pem" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def read(paths: list[Path], state: Path | None = None, chain: Path | None = None) -> list[CertificateReading]:
    pairs = [(str(path), str(chain or "")) for path in paths]
    found = CertificateFiles(state, read_all).read(pairs)
    return [found[pair] for pair in pairs]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are really opened."""
    opened: list[str] = []
    original: Callable[[str], tuple[bytes, certificate_memory.Tag]] = certificate_files._content

    def content(path: str) -> tuple[bytes, certificate_memory.Tag]:
        opened.append(Path(path).name)
        return original(path)

    monkeypatch.setattr(certificate_files, "_content", content)
    return opened


def test_a_combined_file_is_read(tmp_path: Path, combined: list[bytes]) -> None:
    (found,) = read(put(tmp_path, combined[:1]))
    assert (found.issuer, found.organization, found.ocsp_urls) == ("Bench CA R1", "Bench CA", (URL,))
    assert found.chain_complete
    assert not found.must_staple
    assert not found.self_signed
    assert not found.problem


def test_without_the_issuer_the_chain_is_incomplete(tmp_path: Path, combined: list[bytes]) -> None:
    leaf, issuer = combined[0].split(b"-----END CERTIFICATE-----\n")[:2]
    path, chain = put(
        tmp_path, [leaf + b"-----END CERTIFICATE-----\n", issuer + b"-----END CERTIFICATE-----\n"]
    )
    assert not read([path])[0].chain_complete
    assert read([path], chain=chain)[0].chain_complete
    assert not read([path], chain=tmp_path / "missing")[0].chain_complete


def test_one_bad_file_is_a_problem_of_its_own(tmp_path: Path, combined: list[bytes]) -> None:
    paths = put(tmp_path, [combined[0], b"", b"rubbish \xff", combined[1][:2500], b"x" * (2 << 20)])
    (tmp_path / "pipe").parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / "pipe")
    found = read([*paths, tmp_path / "pipe", tmp_path, tmp_path / "none"])
    assert [reading.problem for reading in found] == [
        "",
        *["certificate-unreadable"] * 6,
        "certificate-missing",
    ]


def test_a_second_reading_opens_nothing(tmp_path: Path, combined: list[bytes], counted: list[str]) -> None:
    paths = put(tmp_path, [*combined, b"rubbish"])
    first = read(paths, tmp_path)
    assert len(counted) == 4
    assert read(paths, tmp_path) == first
    assert len(counted) == 4


def test_a_changed_file_is_read_again(tmp_path: Path, combined: list[bytes], counted: list[str]) -> None:
    paths = put(tmp_path, combined)
    read(paths, tmp_path)
    counted.clear()
    replacement = tmp_path / "new"
    replacement.write_bytes(combined[0])
    replacement.replace(paths[1])
    os.utime(paths[2], ns=(1, 1))
    paths[0].unlink()
    assert [reading.problem for reading in read(paths, tmp_path)] == ["certificate-missing", "", ""]
    assert sorted(counted) == ["0.pem", "1.pem", "2.pem"]


def test_an_issuer_that_cannot_be_read_is_not_called_missing(tmp_path: Path) -> None:
    """Apache may find it all the same, and ask."""
    ca = make_authority()
    flood = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.24"), b"0" * 9000)
    odd = base(ca.certificate.subject, ca.certificate.subject, 1).add_extension(flood, False)
    issuer = odd.sign(ca.private_key, hashes.SHA256())
    (found,) = read(put(tmp_path, [pem(issue(ca, URL)) + pem(issuer)]))
    assert found.problem == "certificate-unreadable"


def test_a_file_that_claims_to_be_unchanged_is_read_again(tmp_path: Path, combined: list[bytes]) -> None:
    """Its owner can write into it, keep its size and set the time of the write back."""
    (path,) = put(tmp_path, combined[:1])
    before, kept = path.stat(), read([path], tmp_path)
    with path.open("r+b") as file:
        file.write(b"#" * len(combined[0]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert [one.problem for one in (*kept, *read([path], tmp_path))] == ["", "certificate-unreadable"]


def test_a_changed_chain_file_is_read_again(tmp_path: Path, combined: list[bytes]) -> None:
    leaf, issuer = combined[0].split(b"-----END CERTIFICATE-----\n")[:2]
    path, chain = put(
        tmp_path, [leaf + b"-----END CERTIFICATE-----\n", issuer + b"-----END CERTIFICATE-----\n"]
    )
    assert read([path], tmp_path, chain)[0].chain_complete
    chain.write_text("")
    assert not read([path], tmp_path, chain)[0].chain_complete


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 3}',
        b'{"version": 99, "kinds": [], "files": []}',
        b'{"version": 3, "kinds": [[1]], "files": [["a", "", 0, 0, 1, 2, 3]]}',
        b'{"version": 3, "kinds": [], "files": [["a", "", 7, 0, 1, 2, 3]]}',
        b'{"version": 3, "kinds": [], "files": [["a"]]}',
        b'{"version": 3, "kinds": {}, "files": 5}',
        b"[" * 200_000,
        b"\xff\xfe\x00",
    ],
)
def test_a_damaged_cache_is_as_none(tmp_path: Path, combined: list[bytes], content: bytes) -> None:
    (tmp_path / CACHE_NAME).write_bytes(content)
    (tmp_path / CACHE_NAME).chmod(0o600)
    paths = put(tmp_path, combined)
    assert [reading.ocsp_urls for reading in read(paths, tmp_path)] == [(URL,)] * 3
    assert json.loads((tmp_path / CACHE_NAME).read_bytes())["version"] == 3


def test_a_cache_that_others_can_write_is_not_believed(tmp_path: Path, combined: list[bytes]) -> None:
    paths = put(tmp_path, combined[:1])
    read(paths, tmp_path)
    cache = tmp_path / CACHE_NAME
    cache.write_bytes(cache.read_bytes().replace(b"bench-ca", b"evil-ca0"))
    cache.chmod(0o666)
    assert read(paths, tmp_path)[0].ocsp_urls == (URL,)


def test_the_cache_is_for_its_owner_only_and_holds_no_key(tmp_path: Path, combined: list[bytes]) -> None:
    state = tmp_path / "state"
    read(put(tmp_path, combined), state)
    assert state.stat().st_mode & 0o777 == 0o700
    cache = state / CACHE_NAME
    assert cache.stat().st_mode & 0o777 == 0o600
    key_line = combined[0].splitlines()[1]
    assert key_line not in cache.read_bytes()
    assert list(state.iterdir()) == [cache]


def test_files_that_are_gone_are_forgotten(tmp_path: Path, combined: list[bytes]) -> None:
    paths = put(tmp_path, combined)
    read(paths, tmp_path)
    read(paths[:1], tmp_path)
    assert len(json.loads((tmp_path / CACHE_NAME).read_bytes())["files"]) == 1


def test_a_look_that_needs_fewer_files_than_the_one_before_forgets_none_and_writes_nothing(
    tmp_path: Path, combined: list[bytes], counted: list[str]
) -> None:
    paths = put(tmp_path, combined)
    read(paths, tmp_path)
    written, opened = (tmp_path / CACHE_NAME).stat().st_ino, len(counted)
    read(paths[:2], tmp_path)
    read(paths, tmp_path)
    assert ((tmp_path / CACHE_NAME).stat().st_ino, len(counted)) == (written, opened)


def test_without_a_writable_state_directory_it_still_reads(tmp_path: Path, combined: list[bytes]) -> None:
    (tmp_path / "file").write_text("")
    assert read(put(tmp_path, combined[:1]), tmp_path / "file/below")[0].ocsp_urls == (URL,)


def test_many_files_are_read_the_same_in_two_processes(
    tmp_path: Path, combined: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = put(tmp_path, [*combined, b"rubbish"] * 10)
    alone = read(paths)
    monkeypatch.setattr(certificate_files, "_SHARE_FROM", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    forked: list[int] = []
    original = os.fork

    def fork() -> int:
        forked.append(1)
        return original()

    monkeypatch.setattr(os, "fork", fork)
    assert read(paths) == alone
    assert forked == [1]


def test_a_process_with_threads_does_not_fork(
    tmp_path: Path, combined: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_files, "_SHARE_FROM", 2)
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked"))
    assert len(read(put(tmp_path, combined))) == 3


def test_a_helper_that_dies_loses_nothing(
    tmp_path: Path, combined: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_files, "_SHARE_FROM", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(certificate_files, "_answer", lambda _writer, _pairs: os._exit(9))
    assert [reading.ocsp_urls for reading in read(put(tmp_path, combined))] == [(URL,)] * 3


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["Test Issuing CA"] * 60, ""),
        ([f"CA {i}" for i in range(certificate_files.MAX_CHAIN + 1)], "certificate-unreadable"),
    ],
)
def test_a_file_that_is_to_keep_us_busy_costs_no_time(tmp_path: Path, names: list[str], problem: str) -> None:
    """Many issuers: of those of one name the first is taken without a look at its key, as mod_ssl does."""
    issuers = [make_authority(name) for name in names]
    leaf = pem(issue(issuers[0], URL))
    path = put(tmp_path, [leaf + b"".join(pem(each.certificate) for each in issuers)])
    begin = time.process_time()
    (found,) = read(path)
    assert found.problem == problem
    assert time.process_time() - begin < 0.2


def test_one_accounts_files_that_take_long_keep_nobody_elses_from_being_read(
    tmp_path: Path, combined: list[bytes]
) -> None:
    """Hundreds of the largest size that is read; what was not read this time is the next time."""
    (large,) = put(tmp_path, [_as_large_as_can_be(combined[0])])
    flood = [tmp_path / f"flood{number}" for number in range(400)]
    for path in flood:
        path.hardlink_to(large)
    (tmp_path / "others").mkdir()
    others = put(tmp_path / "others", combined[1:])
    owners = {(str(path), ""): "mallory" for path in flood}
    owners |= {(str(path), ""): f"user{number}" for number, path in enumerate(others)}

    begin = time.process_time()
    found = CertificateFiles(tmp_path, read_all).read(owners, owners)
    took = time.process_time() - begin

    assert [found[str(path), ""].problem for path in others] == ["", ""]
    left = [pair for pair, reading in found.items() if reading.problem == NOT_READ]
    assert 0 < len(left) < 400
    assert took < 4  # all of them: more than ten
    again = CertificateFiles(tmp_path, read_all).read(owners, owners)
    assert sum(reading.problem == NOT_READ for reading in again.values()) < len(left)


def _as_large_as_can_be(combined: bytes) -> bytes:
    """Behind it comes what is no certificate and must be decoded to be known for none."""
    room = (certificate_files.MAX_FILE_BYTES - len(combined) - 100) // 65
    return (
        combined
        + b"-----BEGIN CERTIFICATE-----\n"
        + (b"A" * 64 + b"\n") * room
        + b"-----END CERTIFICATE-----\n"
    )


def test_many_ordinary_files_are_all_read_at_once(tmp_path: Path, combined: list[bytes]) -> None:
    """Of one account, and however many: the bound is far beyond what they cost."""
    first = put(tmp_path, combined)[0]
    paths = [tmp_path / f"more{number}" for number in range(3000)]
    for path in paths:
        path.hardlink_to(first)
    assert {reading.problem for reading in read(paths)} == {""}


def test_a_chain_of_more_bytes_than_any_is_unreadable(tmp_path: Path) -> None:
    ca = make_authority()
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"0" * 90_000)
    large = base(ca.certificate.subject, ca.certificate.subject, 1).add_extension(odd, False)
    more = pem(large.sign(ca.private_key, hashes.SHA256()))
    leaf = pem(issue(ca, URL)) + pem(ca.certificate)
    found = read(put(tmp_path, [leaf + more, leaf + more * 3]))
    assert [one.problem for one in found] == ["", "certificate-unreadable"]


def test_the_kind_of_key_is_that_of_the_first_certificate(tmp_path: Path, combined: list[bytes]) -> None:
    certificates = {
        "rsa": new_rsa_key(),
        "ecdsa": new_key(),
        "": ed25519.Ed25519PrivateKey.generate(),
    }
    authority = AuthorityKeys.create(Authority("alpha", "ocsp.alpha-ca.test", ()))
    for kind, private in certificates.items():
        path = tmp_path / f"{kind}.pem"
        leaf = authority.certificate(SitePlan("a.test", "anna", "alpha"), private)  # type: ignore[arg-type]
        path.write_bytes(leaf.public_bytes(Encoding.PEM) + combined[0])
        assert certificate_files.key_kind(path) == kind
    assert certificate_files.key_kind(tmp_path / "none") == ""
    (tmp_path / "text.pem").write_text("no certificate")
    assert certificate_files.key_kind(tmp_path / "text.pem") == ""
