"""Serves the application on a unix socket to root alone, and leaves when nobody has asked for a while."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import UnixWSGIServer

from ocsp_stapling.problem import Problem
from ocsp_stapling.web.app import BODY_LIMIT

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

SOCKET = Path("/run/ocsp-stapling/web.sock")
_FIRST_INHERITED = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid; unix(7)
_THREADS = 8
_TICK_SECONDS = 1.0


class RootOnlyServer(UnixWSGIServer):
    """A waitress server that talks to root only: the headers that name the caller are worth that much."""

    def set_socket_options(self, conn: socket.socket) -> None:
        """Refuse a peer that is not root (called for every connection; an OSError drops it)."""
        _pid, uid, _gid = _PEER.unpack(conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if uid != 0:
            conn.close()
            raise PermissionError(f"a connection of user {uid} was refused")


def serve(application: WSGIApplication, listener: socket.socket, idle_seconds: float) -> None:
    """Serve until `idle_seconds` have passed without a request; then return. The listener stays open.

    A connection that arrives in the moment of leaving waits in the listener's queue for the next start.
    """
    channels: dict[int, Any] = {}
    server = _server(application, listener, channels)
    last = time.monotonic()
    try:
        while time.monotonic() - last < idle_seconds:
            wasyncore.loop(timeout=min(_TICK_SECONDS, idle_seconds), map=channels, count=1)
            if server.active_channels:
                last = time.monotonic()
    finally:
        server.task_dispatcher.shutdown()


def inherited() -> socket.socket | None:
    """Return the socket that systemd hands over, None if there is none (sd_listen_fds(3))."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or count != "1":
        return None
    os.set_inheritable(_FIRST_INHERITED, False)  # programs that we start must not hold it
    return socket.socket(fileno=_FIRST_INHERITED)


def listen(path: Path) -> socket.socket:
    """Return a socket of our own at `path`, for servers without systemd.

    Raises Problem `socket-in-use`, `unsafe-path` (others could reach or replace it) or `socket-failed`.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_open_directory(path.parent)
        _refuse_living_server(path)
        _remove_dead_socket(path)
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            found.bind(str(path))
        finally:
            os.umask(before)
        found.listen(64)
    except OSError as error:
        raise Problem(
            "socket-failed", f"{path} cannot be listened on ({error.strerror or error})."
        ) from error
    return found


def _refuse_open_directory(directory: Path) -> None:
    found = directory.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise Problem(
            "unsafe-path", f"{directory} must belong to root with mode 700, so that no other user gets in."
        )


def _refuse_living_server(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(2)
        try:
            trial.connect(str(path))
        except OSError:
            return
    raise Problem("socket-in-use", f"Another service listens on {path} already.")


def _remove_dead_socket(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise Problem("socket-failed", f"{path} is no socket, so it was left as it is.")
        path.unlink()


def _server(
    application: WSGIApplication, listener: socket.socket, channels: dict[int, Any]
) -> RootOnlyServer:
    adjustments = Adjustments(
        sockets=[listener],
        threads=_THREADS,
        ident=None,
        channel_timeout=60,
        max_request_header_size=32 * 1024,
        max_request_body_size=BODY_LIMIT + 4096,
        log_socket_errors=False,
    )
    return RootOnlyServer(application, channels, _sock=listener, adj=adjustments, bind_socket=False)
