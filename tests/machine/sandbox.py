"""`install.sh --sandbox`: a WHM-shaped machine with the plugin in it, to try in a browser and in a shell.

Usage: python -m tests.machine.sandbox [--tour | --serve]
A terminal gets a shell in the machine; --serve stays without one until Ctrl-C; --tour tells the whole story and ends
with 0 only if every chapter went as it should, and so does a call without a terminal.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from tests.machine import cpanel, init, relay
from tests.machine.command import MAILS
from tests.machine.installation import InstallationError, install
from tests.machine.machine import CLEAN, REPO, Machine, Shape, why_not_here
from tests.machine.tour import say, tour

USAGE = """\
sudo ./install.sh --sandbox           a WHM-shaped machine with the plugin in it: WHM in your browser, and a shell
sudo ./install.sh --sandbox --serve   the same without the shell, until Ctrl-C
sudo ./install.sh --sandbox --tour    the whole story by itself"""
GRANT = (
    "In a container, grant it: docker run --privileged ... "
    "(or --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined "
    "--security-opt apparmor=unconfined)."
)
STAND_IN = (
    "WHM itself is a stand-in here: cPanel's programs are imitated after its public documentation.\n"
    "Apache, its stapling, TLS, DNS, the certificate authorities, their responders and the outage are real."
)
WHM_PORT, OUTAGE_PORT = 2087, 2088
PLACES = """
  WHM, a stand-in       {whm}   (its certificate is self-signed: accept it)
     log in as {operator}, then Plugins > OCSP Stapling; password:
       {operator_password}
     or as {viewer}, a reseller who may only look; password:
       {viewer_password}
  Outages               {outages}    break and heal the certificate authorities, visit the sites
  From another computer ssh -L {whm_port}:127.0.0.1:{whm_port} -L {outage_port}:127.0.0.1:{outage_port} {user}@{host}
"""
COMMANDS = """
In this shell:
  ocsp-stapling status           how things stand
  machine fault alpha hang       let the responder of the authority "alpha" hang, then forget the cached staples:
  /usr/local/cpanel/scripts/restartsrv_httpd --hard
  machine visit                  four visitors at once: see the stall
  ocsp-stapling off              end it
  machine heal                   the responder comes back
  ocsp-stapling on               staple again

  machine mail                   the mails that the watch has sent
  machine                        everything else that can break      exit   leave and remove the machine
"""
SENDMAIL = f'#!/bin/sh\nexec cat >"$(mktemp "{MAILS}/$(date +%s)-XXXXXX")"\n'
REMOVED = "The machine is removed; nothing of it is left."


@dataclass(frozen=True)
class Sandbox:
    """A machine with the plugin installed, and where its pages are met from this system."""

    machine: Machine
    whm: str
    outages: str
    passwords: dict[str, str]

    def describe(self) -> str:
        """Say where everything is and how to log in."""
        return PLACES.format(
            whm=self.whm,
            outages=self.outages,
            operator=cpanel.OPERATOR,
            operator_password=self.passwords[cpanel.OPERATOR],
            viewer=cpanel.VIEWER,
            viewer_password=self.passwords[cpanel.VIEWER],
            whm_port=_port(self.whm),
            outage_port=_port(self.outages),
            user=os.environ.get("SUDO_USER", "root"),
            host=os.uname().nodename,
        )


@contextlib.contextmanager
def sandbox() -> Iterator[Sandbox]:
    """Start the machine, install the plugin, open WHM and the outage page; all of it ends together."""
    say(
        STAND_IN
        + "\n\nStarting the machine: six websites and two odd ones, three certificate authorities ..."
    )
    with contextlib.ExitStack() as stack:
        missing = init.why_not_here()
        say(
            f"systemd's part is played by stand-ins: {missing}."
            if missing
            else "systemd is this system's own, real."
        )
        machine = stack.enter_context(Machine(Shape(plugin=False, systemd=not missing)))
        machine.python("tests.machine.cpanel", "prepare")
        mailbox(machine)
        install(machine, say)
        passwords = choose_passwords(machine)
        machine.python("tests.machine.cpanel", "serve")
        whm_port, outage_port = stack.enter_context(relay.into(machine.pid, WHM_PORT, OUTAGE_PORT))
        whm = f"https://{relay.LOOPBACK}:{whm_port}/"
        stack.enter_context(outage_page(machine, whm))
        yield Sandbox(machine, whm, f"http://{relay.LOOPBACK}:{outage_port}/", passwords)


def mailbox(machine: Machine) -> None:
    """Let mail go into files, which `machine mail` shows, and to somebody."""
    machine.path(str(MAILS)).mkdir()
    program = machine.path("/usr/sbin/sendmail")
    program.write_text(SENDMAIL)
    program.chmod(0o755)
    machine.path("/etc/wwwacct.conf").write_text("CONTACTEMAIL admin@example.com\n")


def choose_passwords(machine: Machine) -> dict[str, str]:
    """Give root and a reseller passwords of this sandbox alone, for every user of this system can meet its WHM."""
    passwords = {name: secrets.token_urlsafe(9) for name in (cpanel.OPERATOR, cpanel.VIEWER)}
    known = {name: {"password": word, "tokens": {}} for name, word in passwords.items()}
    machine.path(str(cpanel.USERS)).write_text(json.dumps(known))
    return passwords


@contextlib.contextmanager
def outage_page(machine: Machine, whm: str) -> Iterator[None]:
    """Serve the outage page inside the machine."""
    line = f'cd "{REPO}" && exec "$0" -m tests.machine.outage "$@"'
    process = machine.popen("sh", "-c", line, sys.executable, str(OUTAGE_PORT), whm)
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the outage page did not start: {process.stderr.read()}")
        try:
            yield
        finally:
            process.kill()  # that is nsenter; the page itself ends with the machine
            process.wait()


def shell(found: Sandbox) -> int:
    """Open a shell in the machine and return when its user leaves it."""
    say(found.describe() + COMMANDS)
    line = shell_line(found)
    environment = CLEAN | {"TERM": os.environ.get("TERM", "dumb")}
    # Ctrl-C belongs to whatever runs in the shell; a handler, unlike SIG_IGN, is not passed on to it.
    signal.signal(signal.SIGINT, lambda *_: None)
    subprocess.run(line, env=environment, check=False)
    return 0


def shell_line(found: Sandbox) -> list[str]:
    """Return the command line of a shell in the machine."""
    startup = found.machine.path("/run/machine/bashrc")
    startup.write_text(f"export PATH={CLEAN['PATH']}\nPS1='[WHM-shaped machine] \\w # '\n")
    return found.machine.enter(["sh", "-c", "cd /root && exec bash --rcfile /run/machine/bashrc -i"])


def serve(found: Sandbox) -> int:
    """Stay until Ctrl-C."""
    line = shlex.join(shell_line(found))
    say(f"{found.describe()}\nA shell in it: sudo {line}\n\nCtrl-C stops the machine and removes it.")
    threading.Event().wait()
    return 0


def tell(found: Sandbox) -> int:
    """Tell the story; return the exit status. No logins: the machine ends with the story."""
    return tour(found.machine)


def _port(url: str) -> str:
    return url.rstrip("/").rpartition(":")[2]


def leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def chosen() -> str:
    """Return which of the ways to use the sandbox is wanted, "" if the words are not understood."""
    words = sys.argv[1:]
    if not words:
        return "shell" if sys.stdin.isatty() and sys.stdout.isatty() else "tour"
    return {"--tour": "tour", "--serve": "serve"}.get(" ".join(words), "")


def main() -> int:
    ways = {"shell": shell, "serve": serve, "tour": tell}
    way = chosen()
    if not way:
        print(USAGE, file=sys.stderr)
        return 2
    if reason := why_not_here():
        grant = f" {GRANT}" if "CAP_" in reason else ""
        print(f"The sandbox cannot run: {reason}.{grant}", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born deaf to it
    try:
        with sandbox() as found:
            code = ways[way](found)
    except KeyboardInterrupt:
        code = 130
    except InstallationError as problem:
        print(f"The sandbox cannot run: {problem}.", file=sys.stderr)
        return 1
    say(REMOVED)
    return code


if __name__ == "__main__":
    sys.exit(main())
