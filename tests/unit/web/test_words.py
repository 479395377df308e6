"""Words of the page."""

from __future__ import annotations

from ocsp_stapling.web.words import commands


def test_commands_in_a_sentence_are_shown_as_code_and_nothing_becomes_markup() -> None:
    text = "Run `ocsp-stapling on`, not <b>`<script>`</b>."
    assert commands(text) == (
        "Run <code>ocsp-stapling on</code>, not &lt;b&gt;<code>&lt;script&gt;</code>&lt;/b&gt;."
    )
