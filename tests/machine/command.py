"""The command `machine` inside a machine: break responders, heal them, be a crowd of visitors."""

from __future__ import annotations

import email
import email.policy
import sys

from tests.machine import faults
from tests.machine.shape import Shape, authorities, sites

MAILS = faults.RUN / "mails"
"""Where the sandbox's sendmail leaves what it is given."""
USAGE = f"""\
machine fault CA KIND [--address all|4|6|ADDRESS] [--user NAME]   let KIND befall CA ("all": every authority)
machine heal                                                      take every fault away
machine show                                                      what there is, and what is broken
machine visit [COUNT] [SITE]                                      timed handshakes that ask for a staple, all at once
machine mail                                                      the mails that were sent in the sandbox

what the responder does wrong     {" ".join(faults.ANSWERS[:10])}
                                  {" ".join(faults.ANSWERS[10:])}
what befalls its packets          {" ".join(faults.PACKETS)}
what befalls its name             {" ".join(faults.NAMES)}
"""


def fault(words: list[str], shape: Shape) -> None:
    address = _option(words, "--address", "all")
    user = _option(words, "--user", "")
    serial = _option(words, "--serial", "")
    ca, kind = words
    known = [a.name for a in authorities(shape)]
    if kind not in faults.KINDS or ca not in ("all", *known):
        raise SystemExit(f"machine: CA is all or one of {known}; KIND is one of {', '.join(faults.KINDS)}")
    if user and kind not in faults.PACKETS:
        raise SystemExit("machine: --user goes with drop, refuse and unreachable only")
    with faults.alone():
        faults.write([*faults.read(), faults.Fault(ca, kind, address, user, serial)], authorities(shape))


def show(shape: Shape) -> None:
    found = faults.read()
    for each in authorities(shape):
        broken = [f.kind for f in found if f.ca in ("all", each.name)]
        print(
            f"{each.name:10} {each.host:26} {' '.join(each.addresses):44} {', '.join(broken) or 'in order'}"
        )
    for plan in sites(shape)[:10]:
        note = "must-staple" if plan.must_staple else "" if plan.ocsp_url else "no OCSP URL"
        print(f"{plan.name:26} {plan.authority:10} {note}")


def visit(words: list[str]) -> None:
    from tests.machine.clients import many
    from tests.machine.shape import SERVER_V4

    count = int(words[0]) if words else 4
    site = words[1] if len(words) > 1 else "site0001.example.test"
    print(f"{count} visitors at once to https://{site}, each asking for a staple:", flush=True)
    for result in many([site] * count, True, SERVER_V4, 60):
        ending = result["error"] or ("with staple" if result["stapled"] else "no staple")
        print(f"  {result['seconds']:7.3f} s   {ending}", flush=True)


def mail() -> None:
    found = sorted(MAILS.glob("*"))
    for path in found:
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        print(*(f"{name}: {message[name]}" for name in ("Date", "To", "Subject")), sep="\n")
        body = message.get_body(("plain",))
        print(f"\n{body.get_content() if body else ''}")
    if not found:
        print("No mail was sent yet.")


def _option(words: list[str], name: str, default: str) -> str:
    if name not in words:
        return default
    at = words.index(name)
    value = words[at + 1]
    del words[at : at + 2]
    return value


def main() -> None:
    shape = Shape.from_json((faults.RUN / "shape.json").read_text())
    name, *words = sys.argv[1:] or ["help"]
    if name == "fault" and len(words) in (2, 4, 6):
        fault(words, shape)
    elif name == "heal":
        with faults.alone():
            faults.write([], authorities(shape))
    elif name == "show":
        show(shape)
    elif name == "mail":
        mail()
    elif name == "visit":
        visit(words)
    else:
        print(USAGE, end="")
        sys.exit(0 if name in ("help", "--help") else 2)


if __name__ == "__main__":
    main()
