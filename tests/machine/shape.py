"""What a machine looks like: its sites, its authorities and where everything stands. Plain data, no I/O."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

MPMS = ("event", "event-tight", "worker", "prefork")

SERVER_V4 = "44.128.1.2"
SERVER_V6 = "2a0f:c0de:1::2"
GATEWAY_V4 = "44.128.1.1"
GATEWAY_V6 = "2a0f:c0de:1::1"
# Where a resolver with an old entry leads: to nobody, and to somebody else's web server.
NOBODY_V4, STRANGER_V4 = "44.128.66.6", "44.128.66.7"
# Somebody's own responder, which lets whoever asks first wait and answers all who ask meanwhile: Apache asks one
# question at a time, so whoever asks beside it is a check.
SLY_V4 = "44.128.66.8"
PUBLIC_RESOLVERS = ("1.1.1.1", "8.8.8.8")
NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")


@dataclass(frozen=True)
class Shape:
    """The parameters of a machine.

    `sites` ordinary TLS sites are spread over `cas` authorities in turn (or by `sites_per_ca`, a count for
    each authority); each authority's responder has `v4` and `v6` addresses. `extras` adds one Must-Staple
    site and one whose certificate has no OCSP URL. `plugin` puts the command of this checkout on the
    machine's PATH. `distribution` (a name in distributions.py) is what it says it is, and which Pythons it has.
    `systemd`: this system's own systemd is its first process, instead of stand-ins for what the plugin needs of it.
    """

    sites: int = 6
    cas: int = 3
    v4: int = 1
    v6: int = 1
    mpm: str = "event"
    sites_per_ca: tuple[int, ...] = ()
    extras: bool = True
    plugin: bool = True
    distribution: str = ""
    systemd: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Shape:
        fields = json.loads(text)
        return Shape(**fields | {"sites_per_ca": tuple(fields["sites_per_ca"])})


@dataclass(frozen=True)
class Authority:
    """A private CA of the machine: its name, its responder's host name and that host's addresses."""

    name: str
    host: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class SitePlan:
    """One TLS virtual host to be: its server name, the account that owns it, its authority."""

    name: str
    user: str
    authority: str
    must_staple: bool = False
    ocsp_url: bool = True


def authorities(shape: Shape) -> list[Authority]:
    """Return the machine's authorities; every address is a public one."""
    return [_authority(shape, i) for i in range(shape.cas)]


def _authority(shape: Shape, i: int) -> Authority:
    name = NAMES[i] if i < len(NAMES) else f"ca{i + 1}"
    v4 = [f"44.128.{10 + i}.{10 + k}" for k in range(shape.v4)]
    v6 = [f"2a0f:c0de:{10 + i:x}::{10 + k:x}" for k in range(shape.v6)]
    return Authority(name, f"ocsp.{name}-ca.test", (*v4, *v6))


def sites(shape: Shape) -> list[SitePlan]:
    """Return every TLS site, ordinary ones first."""
    names = [a.name for a in authorities(shape)]
    turns = [names[i % len(names)] for i in range(shape.sites)]
    if shape.sites_per_ca:
        turns = [name for name, count in zip(names, shape.sites_per_ca, strict=False) for _ in range(count)]
    plans = [SitePlan(f"site{i + 1:04d}.example.test", f"user{i + 1:04d}", ca) for i, ca in enumerate(turns)]
    if shape.extras:
        plans.append(SitePlan("muststaple.example.test", "muststap", names[0], must_staple=True))
        plans.append(SitePlan("noocsp.example.test", "noocsp", names[-1], ocsp_url=False))
    return plans
