"""The child process of a probe: gives up root first, then asks, and writes one JSON object a line."""

from __future__ import annotations

import asyncio
import base64
import codecs
import ctypes
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
from ipaddress import ip_address, ip_network
from typing import Any

from ocsp_stapling import codec
from ocsp_stapling.ocsp import certificate, der
from ocsp_stapling.ocsp.finding import ResponderFinding
from ocsp_stapling.ocsp.icmp import Pinger, open_sockets
from ocsp_stapling.ocsp.prober import Limits, Target, probe_all

MEMORY_BYTES = 512 * 1024 * 1024
_THREAD_STACK_BYTES = 512 * 1024
_PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP = 38, 24
_OPEN_FILES = 1024


def main() -> None:
    """Run the job on standard input as the user and group of the first two arguments (`-`: stay who we are)."""
    sockets = open_sockets()  # needs root, and nothing foreign has been read yet
    for encoding in der.ENCODINGS.values():  # afterwards Python's own files may be out of reach
        codecs.lookup(encoding)
    _confine()
    if sys.argv[1] != "-":
        _give_up_root(int(sys.argv[1]), int(sys.argv[2]))
    job = json.load(sys.stdin)
    signal.alarm(int(max(job["ends_at"] - time.monotonic(), 0)) + 2)  # should the parent be gone
    asyncio.run(_work(job, sockets))
    sys.stdout.flush()
    os._exit(0)  # a thread may still hang in the resolver


def _confine() -> None:
    threading.stack_size(_THREAD_STACK_BYTES)
    for limit, value in (
        (resource.RLIMIT_DATA, MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))


def _give_up_root(uid: int, gid: int) -> None:
    _drop_rights()
    os.setgroups([gid])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if 0 in os.getresuid() or 0 in os.getresgid():
        sys.exit("still root")


def _drop_rights() -> None:
    """Nothing that this process starts or becomes shall gain rights: prctl(2), capabilities(7)."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in range(64):
        if prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # the kernel knows no more of them


async def _work(job: dict[str, Any], sockets: dict[socket.AddressFamily, socket.socket]) -> None:
    pinger = Pinger(sockets)
    await probe_all([_target(one) for one in job["targets"]], _limits(job), pinger, _report)
    pinger.close()


def _report(number: int, finding: ResponderFinding) -> None:
    print(codec.to_json((number, finding)).decode(), flush=True)


def _target(one: dict[str, Any]) -> Target:
    certificates = _certificate(one["certificate"]), _certificate(one["issuer"])
    return Target(
        one["url"], *certificates, one["trusted"], one["via"], one["keep"], tuple(one["at"]), one["skew"]
    )


def _certificate(text: str) -> certificate.Certificate | None:
    return certificate.parse(base64.b64decode(text)) if text else None


def _limits(job: dict[str, Any]) -> Limits:
    return Limits(
        max(job["ends_at"] - time.monotonic(), 0),
        job["timeout_seconds"],
        tuple(map(ip_network, job["allowed_networks"])),
        frozenset(map(ip_address, job["own_addresses"])),
    )
