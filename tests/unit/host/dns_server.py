"""A DNS server on loopback that answers what a test says."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Zone = dict[str, list[str]]
Reply = Callable[[dns.message.Message], bytes | None]


def zone(names: Zone) -> Reply:
    """Answer from a table of addresses, anything else does not exist."""

    def reply(query: dns.message.Message) -> bytes:
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        question = query.question[0]
        addresses = names.get(question.name.to_text(omit_final_dot=True))
        if addresses is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
            return answer.to_wire()
        wanted = [a for a in addresses if (":" in a) == (question.rdtype == dns.rdatatype.AAAA)]
        if wanted:
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", question.rdtype, *wanted))
        return answer.to_wire()

    return reply


def code(rcode: dns.rcode.Rcode) -> Reply:
    """Answer everything with one code."""

    def reply(query: dns.message.Message) -> bytes:
        answer = dns.message.make_response(query)
        answer.set_rcode(rcode)
        return answer.to_wire()

    return reply


@contextlib.contextmanager
def dns_server(reply: Reply, address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Serve over UDP until the end; yields the port. A reply of None stays silent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, port))

        def serve() -> None:
            while True:
                wire, peer = server.recvfrom(4096)
                if not wire:
                    return
                answer = reply(dns.message.from_wire(wire))
                if answer is not None:
                    server.sendto(answer, peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.sendto(b"", server.getsockname())  # an empty datagram ends it
            thread.join(60)
