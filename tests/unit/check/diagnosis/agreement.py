"""What holds between headline, sentences, exit status, performance data and table of one check's document."""

from __future__ import annotations

import re
from typing import Any

from click import unstyle

from ocsp_stapling.check import report
from ocsp_stapling.check.diagnosis.handshakes import STALL_SECONDS
from ocsp_stapling.check.words import DOWN
from ocsp_stapling.cli.check_text import as_text
from ocsp_stapling.ocsp.finding import Outcome

Document = dict[str, Any]
_ROUNDED = 0.06


def contradictions(found: Document) -> list[str]:
    """Every way in which what is said does not fit the table below it."""
    rules = _of_alarms(found) | _of_sentences(found) | _of_advice(found)
    told = f"{found['monitoring_state']} {found['sentence']} [{found['slowest_handshake_seconds']}]"
    return [f"{rule}: {told}" for rule, holds in rules.items() if not holds]


def first_line_is_the_verdict(found: Document) -> bool:
    """Say whether the text for a terminal begins with state and sentence."""
    verdict = f"OCSP STAPLING {found['monitoring_state']} - {found['sentence'][:40]}"
    return unstyle(as_text(found)).startswith(verdict)


def _asked(found: Document) -> list[Document]:
    return [each for each in found["handshakes"] if each["asked"]]


def _slow(found: Document) -> list[Document]:
    return [
        each
        for each in _asked(found)
        if each["seconds"] >= STALL_SECONDS and each["failure"] in (None, "timeout")
    ]


def _aborted(found: Document) -> list[Document]:
    served = {_place(each) for each in found["handshakes"] if not each["asked"] and not each["failure"]}
    again = [each for each in found["handshakes"] if each["repeated"]]
    healed = {_place(each) for each in again if _is_quick(each)}
    # It may have been a restart; that of a place which was not tried again, where others were.
    served -= healed | (served - set(map(_place, again)) if healed else set())
    return [
        each
        for each in _asked(found)
        if (each["failure"] or "").startswith("tls:")
        or (each["failure"] == "reset" and _place(each) in served)
    ]


def _bad(found: Document) -> list[Document]:
    return [each for each in _asked(found) if each["staple"] not in (None, "good")]


def _is_quick(each: Document) -> bool:
    return not each["failure"] and bool(each["seconds"] < STALL_SECONDS)


def _place(each: Document) -> tuple[str, str, int]:
    return each["site"], each["address"], each["port"]


def _is_down(found: Document) -> bool:
    return found["cause"] in DOWN


def _of_alarms(found: Document) -> dict[str, bool]:
    critical, stalls = found["exit_status"] == report.CRITICAL, found["severity"] == "stalling"
    slowest, slow, aborted = found["slowest_handshake_seconds"], _slow(found), _aborted(found)
    return {
        "it is critical exactly when visitors wait or Apache is down": critical
        == (stalls or _is_down(found)),
        "a stall has a slow or an aborted handshake": not stalls or bool(slow or aborted),
        "all sites are down with Apache": not _is_down(found)
        or len(set(found["sites_affected"])) >= min(found["site_count"], 1),
        "an Apache that does not run is said to be down": found["this_server"]["apache_running"] is not False
        or found["this_server"]["front"] not in ("httpd", "nobody")
        or any(each["failure"] != "refused" for each in found["handshakes"])
        or not found["site_count"]
        or _is_down(found)
        or stalls,
        "performance data beyond its threshold is critical": slowest is None
        or slowest < STALL_SECONDS
        or critical,
        "a stall without an alert shows in the performance data": not stalls
        or bool(aborted)
        or (slowest is not None and slowest >= STALL_SECONDS),
    }


def _of_sentences(found: Document) -> dict[str, bool]:
    sentence, words = found["sentence"], " ".join((found["sentence"], *found["for"], *found["against"]))
    quick = [each for each in _asked(found) if _is_quick(each)]
    bare = {each["site"] for each in _asked(found) if not each["failure"] and each["staple"] != "good"}
    missed = re.search(r"no good staple came from (.+?)\.(?: |$)", sentence)
    named = re.findall(r"[\w-]+(?:\.[\w-]+)+", missed[1]) if missed else []
    return {
        "whoever waits is in the table": "handshakes wait" not in words or bool(_slow(found)),
        "whoever is turned away is in the table": not re.search("turned away|turns away|aborted", words)
        or bool(_aborted(found)),
        "quick is measured": not re.search(r"quickly|sites are quick", sentence) or bool(quick),
        "nobody waits where sites are quick": "answer quickly" not in sentence
        or found["severity"] != "stalling",
        "a staple that is praised has come": "with staples" not in sentence
        or any(each["staple"] == "good" for each in _asked(found)),
        "a staple that is missed has not come": not re.search("no good staple came|sends no staple", sentence)
        or bool(bare),
        "who is said to have sent none did not": set(named) <= bare,
        "who answers rightly is right in the table": not re.search(
            r"([Aa]ll \d+|[Tt]he) responders? answers? rightly", sentence
        )
        or all(Outcome(one["outcome"]).is_good for one in found["responders"] if not one["expired_only"]),
        "nobody is said not to wait in a stall": not re.search(
            r"[Nn]ot one visitor waits|no visitor waits for|not seen to wait|keep visitors from waiting",
            words,
        )
        or not _slow(found)
        or found["severity"] != "stalling",
        "who is served without asking is in the table": "none are served at once" not in words
        or any(not each["asked"] and _is_quick(each) for each in found["handshakes"]),
        "who is refused by Firefox is named": "Firefox refuses" not in sentence
        or bool(found["must_staple_sites"] or found["refused_sites"] or _bad(found)),
        "a wait in the headline is in the table": all(
            any(abs(each["seconds"] - float(took)) < _ROUNDED for each in _slow(found))
            for took in re.findall(r"handshakes wait[^.;,]*? (?:up to|more than) (\d+\.\d) s", sentence)
        ),
    }


def _of_advice(found: Document) -> dict[str, bool]:
    return {
        "something is done about a stall": found["severity"] != "stalling"
        or found["advice"] != "nothing"
        or "someone with root privileges" in found["advice_sentence"],
        "what is off is not turned off": found["advice"] != "turn-off"
        or found["configuration"]["stapling"] != "off"
        or _is_down(found)
        or found["cause"] == "not-in-front",
        "must-staple sites are among the sites": set(found["must_staple_sites"])
        <= set(found["sites_affected"]),
        "a cache that nobody uses is not to be enlarged": "cache fit" not in " ".join(found["against"])
        or not found["configuration"]["md_stapling"],
        "what is asked of the table is in the table": {each["responder"] for each in found["handshakes"]}
        <= {one["url"] for one in found["responders"]} | {""},
    }
