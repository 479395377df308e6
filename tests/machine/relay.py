"""Outside a machine: ports of this system's own loopback address that lead into the machine's network.

Usage: python -m tests.machine.relay PID PORT...
Listens on 127.0.0.1 at each port, or at any free one where that is taken; prints the ports it got as one line of
JSON. Then it moves into the network of process PID, where each connection is led on to the port that was named. It
ends with its standard input, so that it never outlives whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

LOOPBACK = "127.0.0.1"
AT_ONCE = 64  # connections; more are closed at once
_CLONE_NEWNET = 0x40000000
_REPO = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def into(pid: int, *ports: int) -> Iterator[list[int]]:
    """Lead ports of this system into the network of a process; give the ports under which they are reached here."""
    argv = [sys.executable, "-m", "tests.machine.relay", str(pid), *map(str, ports)]
    # In a session of its own: a Ctrl-C at the terminal is not for it.
    process = subprocess.Popen(
        argv, cwd=_REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def listen(port: int) -> socket.socket:
    """Listen at this port, or at a free one if another program has it."""
    try:
        return socket.create_server((LOOPBACK, port), backlog=AT_ONCE)
    except OSError:
        return socket.create_server((LOOPBACK, 0), backlog=AT_ONCE)


def enter_network(pid: int) -> None:
    """Move this process into the network of another; sockets that are open already stay where they are."""
    with Path(f"/proc/{pid}/ns/net").open() as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


class Relay:
    """Leads connections on, a bounded number at once."""

    def __init__(self) -> None:
        self.open = 0

    async def lead(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.open < AT_ONCE:
            self.open += 1
            with contextlib.suppress(OSError):
                await self._lead(port, reader, writer)
            self.open -= 1
        writer.close()

    async def _lead(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection(LOOPBACK, port)
        try:
            await asyncio.gather(_pump(reader, onward), _pump(there, writer))
        finally:
            onward.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes until their end, and then that end; a connection that breaks ends the other direction as well."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()
        raise


async def serve(listeners: dict[int, socket.socket]) -> None:
    """Lead on what comes in at each listener to its port; end the process when standard input ends."""
    relay = Relay()
    for port, listener in listeners.items():
        await asyncio.start_server(partial(relay.lead, port), sock=listener)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    os._exit(0)  # whatever is connected still, ends with it


def main() -> None:
    pid, *ports = map(int, sys.argv[1:])
    listeners = {port: listen(port) for port in ports}
    enter_network(pid)
    print(json.dumps([listener.getsockname()[1] for listener in listeners.values()]), flush=True)
    asyncio.run(serve(listeners))


if __name__ == "__main__":
    main()
