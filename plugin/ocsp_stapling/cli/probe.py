"""`ocsp-stapling probe`: ask one responder, address by address, as Apache does."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import click

from ocsp_stapling import settings
from ocsp_stapling.cli import completion
from ocsp_stapling.cli.options import json_option
from ocsp_stapling.cli.output import emit_json, printable, table, wrapped
from ocsp_stapling.host.routes import own_addresses
from ocsp_stapling.ocsp import responder
from ocsp_stapling.ocsp.certificate import Certificate, parse, read_pem_chain
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding
from ocsp_stapling.ocsp.issuer import issuer_of
from ocsp_stapling.ocsp.responder import Target
from ocsp_stapling.problem import Problem, not_root
from ocsp_stapling.server import state as server
from ocsp_stapling.server.sites import Endpoint
from ocsp_stapling.server.state import ServerState
from ocsp_stapling.text import milliseconds

GOOD, CRITICAL, UNKNOWN = 0, 2, 3
_MARKS = {GOOD: ("OK", "green"), CRITICAL: ("FAULT", "red"), UNKNOWN: ("UNKNOWN", "yellow")}
FALLBACK_USER = "nobody"
_MAX_FILE_BYTES = 4 * 1024 * 1024
_REACHABILITY_ONLY = (
    "No certificate was given, so there was no OCSP question to ask: only reachability was probed."
)
_ROOT_CAN_ASK = " As root (sudo) a certificate of this server that names it is asked about."
_UNANSWERED = frozenset({Outcome.EMPTY_REPLY, Outcome.RESET, Outcome.REPLY_TIMEOUT, Outcome.SLOW})
"""How a responder in order may treat what is no OCSP question, once the connection stands."""
_UNJUDGED = (
    "The responder is reached, but does not answer a request without an OCSP question, as one in order may do: "
    "whether it answers questions is not known."
)


@dataclass(frozen=True)
class ProbeSubject:
    """What the user's word stands for: what to ask (None: nothing), and what must be said about it."""

    kind: str
    targets: tuple[Target, ...]
    """One for each certificate to ask about; () for nothing to ask."""
    note: str = ""
    conclusive: bool = True
    """Whether an answer settles the matter, or something needed for the question was missing."""
    unknown: str = ""
    """The sentence for a name that nothing here has."""

    @property
    def target(self) -> Target | None:
        """The first question."""
        return next(iter(self.targets), None)


def _network(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> Any:
    try:
        return tuple(map(ip_network, texts))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("target", type=click.Path(), shell_complete=completion.probed)
@click.option("--issuer", "issuer_file", type=click.Path(dir_okay=False), help="The issuer's certificate.")
@click.option("--timeout", type=click.FloatRange(0.1, 30), help="Seconds per socket operation (Apache: 3).")
@click.option("--deadline", type=click.FloatRange(0.5, 120), help="Seconds for everything together.")
@click.option("--user", help="Ask as this user (as root: else Apache's; otherwise only yourself).")
@click.option(
    "--allow", multiple=True, callback=_network, metavar="CIDR",
    help="Also ask addresses in here; this server's own only where one is named by itself.",
)  # fmt: skip
@json_option
def probe(
    target: str,
    issuer_file: str | None,
    timeout: float | None,
    deadline: float | None,
    user: str | None,
    allow: tuple[IPv4Network | IPv6Network, ...],
    as_json: bool,
) -> None:
    """Ask the OCSP responder of TARGET at each of its addresses, exactly as Apache asks.

    TARGET is a URL, a certificate file (PEM or DER, its issuer in the same file or in --issuer), a site that
    Apache serves here, or a responder's host. For a URL or host that certificates of this server name, one of
    these is asked about, which needs root; for any other only reachability can be probed.

    Exit status: 0 good, 2 something is wrong, 3 unknown, 1 the probe could not be made.
    """
    chosen = settings.load()
    configured = chosen.probe
    here, hidden = _served(chosen.state_directory)
    subject = find_subject(target, issuer_file, here, hidden)
    uid, gid = _identity(user, here.worker if here else "")
    findings = responder.probe(
        subject.targets,
        uid=uid,
        gid=gid,
        deadline_seconds=deadline or configured.deadline_seconds,
        timeout_seconds=timeout or configured.timeout_seconds,
        allowed_networks=(*configured.allow_networks, *allow),
        own_addresses=own_addresses(),
    )
    worst = sorted(findings, key=lambda one: one.outcome.is_good)
    finding = worst[0] if worst else None
    if as_json:
        emit_json("probe", document(target, subject, worst))
    else:
        click.echo("\n\n".join(as_text(subject, one) for one in worst) or wrapped(subject.note))
    sys.exit(exit_status(subject, finding))


def _served(state_directory: Path) -> tuple[ServerState | None, bool]:
    """What Apache serves here (nothing where there is no cPanel), and whether only root could tell all of it."""
    try:
        here = server.look(state_directory)
        here.require_readable()
    except Problem as problem:
        return None, problem.code == not_root().code
    return here if here.endpoints else None, os.geteuid() != 0


def find_subject(
    word: str, issuer_file: str | None, here: ServerState | None = None, hidden: bool = False
) -> ProbeSubject:
    """Tell what `word` stands for: a URL, a certificate file, a site of this server or a host. Raises Problem.

    `hidden`: this server has certificates that only root can read, and so can ask about.
    """
    note = _REACHABILITY_ONLY + _ROOT_CAN_ASK * hidden
    if issuer_file and not Path(word).is_file():
        raise click.UsageError("--issuer is for a certificate file; of anything else the issuer is known.")
    if "://" in word:
        found = _asked_about(here.asking(word) if here else None, word, "url")
        return found or ProbeSubject("url", (Target(word),), note, not hidden)
    if Path(word).is_file():
        return _certificate_subject(Path(word), Path(issuer_file) if issuer_file else None)
    if Path(word).is_dir():
        said = "That is a directory: name a certificate file, a site, a URL or a host."
        raise Problem("target-not-found", said, word)
    if "/" in word or not word:
        raise Problem("target-not-found", "There is no such file, and it is neither a URL nor a host.", word)
    if here and (site := here.called(word)) is not None:
        return _site_subject(site)
    host = f"[{word}]" if word.count(":") > 1 else word
    found = _asked_about(here.asking(word.lower()) if here else None, word.lower(), "host")
    unknown = _unresolved(printable(word, 100), here)
    return found or ProbeSubject("host", (Target(f"http://{host}/"),), note, not hidden, unknown)


def _unresolved(word: str, here: ServerState | None) -> str:
    """What is said of a name that does not resolve, before the name server is blamed for it."""
    if here:
        return (
            f"No site or responder of this server is called {word}. It does not resolve either: look at the "
            "spelling before the name server."
        )
    if os.geteuid() != 0:
        return f"{word} does not resolve. Whether a site here is called so, only root can tell: use sudo."
    return ""


def _asked_about(site: Endpoint | None, responder: str, kind: str) -> ProbeSubject | None:
    """Ask a responder about a certificate of this server that names it; None if there is none to ask about."""
    if site is None or not site.can_staple:
        return None
    subject = _site_subject(site)
    named = tuple(one for one in subject.targets if responder.strip("/") in one.url) or subject.targets
    return ProbeSubject(kind, named[:1], f"Asked about the certificate of {site.name}.", subject.conclusive)


def _site_subject(site: Endpoint) -> ProbeSubject:
    """Every certificate of the site, asked about where and how Apache asks."""
    subjects = [
        _steered(_certificate_subject(one.file, None, one.issuer_file), site) for one in site.certificates
    ]
    notes = dict.fromkeys(subject.note for subject in subjects if subject.note)
    return ProbeSubject(
        "site",
        tuple(target for subject in subjects for target in subject.targets),
        " ".join([*notes, *_steering(site)]),
        all(subject.conclusive for subject in subjects),
    )


def _steered(subject: ProbeSubject, site: Endpoint) -> ProbeSubject:
    """With SSLStaplingForceURL or SSLOCSPProxyURL Apache asks elsewhere or another way."""
    url, via = (line.value if line else "" for line in (site.force_url, site.proxy))
    if not (url or via):
        return subject
    targets = (replace(one, url=url or one.url, trusted=True, via=via) for one in subject.targets)
    return replace(subject, targets=tuple(targets))


def _steering(site: Endpoint) -> list[str]:
    lines = (line for line in (site.force_url, site.proxy) if line)
    return [f"Apache asks as {line.name} says ({line.file}:{line.line})." for line in lines]


def _certificate_subject(path: Path, issuer_path: Path | None, more: Path | None = None) -> ProbeSubject:
    """`issuer_path` is where the issuer stands, `more` where it may stand as well."""
    leaf, *chain = _read_certificates(path)
    chain += _read_certificates(more) if more else []
    if issuer_path is not None:
        chain = _read_certificates(issuer_path)
    issuer = issuer_of(leaf, chain)
    if not leaf.ocsp_urls:
        return ProbeSubject(
            "certificate", (), "The certificate names no OCSP responder, so there is none to ask."
        )
    target = Target(leaf.ocsp_urls[0], leaf, issuer)
    if issuer is None:
        note = "The issuer is missing from the file, so neither Apache nor the probe can ask: complete the chain."
        return ProbeSubject("certificate", (target,), note, conclusive=False)
    if leaf.not_after < datetime.now(UTC):
        note = "The certificate has expired; responders are not asked about expired certificates."
        return ProbeSubject("certificate", (replace(target, certificate=None),), note, conclusive=False)
    others = len(leaf.ocsp_urls) - 1
    return ProbeSubject(
        "certificate", (target,), f"Apache uses only the first of {others + 1} URLs." if others else ""
    )


def _read_certificates(path: Path) -> list[Certificate]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise Problem("file-unreadable", f"{path} cannot be read.", error.strerror or "") from error
    return [parse(der) for der in read_pem_chain(data) or (data,)]


def _identity(user: str | None, worker: str) -> tuple[int | None, int | None]:
    """Return the user to become: root asks as Apache's workers do unless told otherwise, anyone else as himself."""
    if user is None and os.geteuid() != 0:
        return None, None
    name = user or worker or FALLBACK_USER
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise Problem("user-unknown", f"There is no user {name} on this server.") from error
    return entry.pw_uid, entry.pw_gid


def exit_status(subject: ProbeSubject, finding: ResponderFinding | None) -> int:
    """Return 0 good, 2 something is wrong, 3 unknown."""
    if finding is None:
        return GOOD
    if finding.outcome is Outcome.DEADLINE or _is_unjudged(finding):
        return UNKNOWN
    if not finding.outcome.is_good:
        return CRITICAL
    return GOOD if subject.conclusive else UNKNOWN


def _is_unjudged(finding: ResponderFinding) -> bool:
    """Whether all that is wrong is that something which was no question got no answer."""
    wrong = [one for one in finding.addresses if not one.outcome.is_good]
    silent = all(one.outcome in _UNANSWERED and one.tcp_ms is not None for one in wrong)
    return bool(wrong) and silent and not finding.question and finding.fault is None


def _sentence(subject: ProbeSubject, finding: ResponderFinding) -> str:
    if subject.unknown and finding.outcome in (Outcome.DNS_FAILURE, Outcome.DNS_TIMEOUT):
        return subject.unknown
    return _UNJUDGED if _is_unjudged(finding) else finding.sentence


def document(word: str, subject: ProbeSubject, findings: Sequence[ResponderFinding]) -> dict[str, Any]:
    """Return the JSON document, the worst finding first; `outcome` is null if there was no responder to ask."""
    finding = next(iter(findings), None)
    certificate = subject.target.certificate if subject.target else None
    return {
        "target": word,
        "target_kind": subject.kind,
        "outcome": finding.outcome.value if finding else None,
        "sentence": _sentence(subject, finding) if finding else subject.note,
        "note": subject.note,
        "exit_status": exit_status(subject, finding),
        "certificate": _certificate_json(certificate) if certificate else None,
        "responders": [one.as_json() for one in findings],
    }


def _certificate_json(certificate: Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": f"{certificate.serial:x}",
        "not_after": certificate.not_after.isoformat(),
        "must_staple": certificate.must_staple,
        "ocsp_urls": list(certificate.ocsp_urls),
        "fingerprint": certificate.fingerprint,
    }


def as_text(subject: ProbeSubject, finding: ResponderFinding | None) -> str:
    """Return the verdict first, then a line per address."""
    if finding is None:
        return subject.note
    mark, colour = _MARKS[exit_status(subject, finding)]
    lines = [
        f"{click.style(mark, fg=colour, bold=True)}  {printable(finding.url)}",
        wrapped(_sentence(subject, finding), "  ", "  "),
    ]
    if finding.detail:
        lines.append(wrapped(printable(finding.detail), "  ", "  "))
    if finding.addresses:
        header = ("address", "route", "ping", "connect", "http", "answer", "result")
        lines += ["", table(map(_row, finding.addresses), header)]
    if finding.address_count > len(finding.addresses):
        lines.append(f"  {finding.address_count} addresses in all; the others were not asked.")
    return "\n".join([*lines, *(["", wrapped(subject.note, "  ", "  ")] if subject.note else [])])


def _row(found: AddressFinding) -> tuple[str, ...]:
    route = {True: "yes", False: "no", None: "-"}[found.route]
    http = f"{found.http_status or '-'} {milliseconds(found.http_ms)}" if found.http_ms is not None else "-"
    answer = found.verdict.value.replace("-", " ") if found.verdict else "-"
    allowed = " (allowed by configuration)" if found.allowed_by_operator else ""
    result = f"{found.outcome.word}{allowed}" + (f": {found.detail}" if found.detail else "")
    return (
        found.address,
        route,
        milliseconds(found.icmp_ms),
        milliseconds(found.tcp_ms),
        http,
        answer,
        result,
    )
