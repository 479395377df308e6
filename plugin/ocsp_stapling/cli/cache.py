"""`ocsp-stapling cache`: the cache in which Apache keeps its staples."""

from __future__ import annotations

import sys
from typing import Any

import click

from ocsp_stapling.cli import PlainGroup
from ocsp_stapling.cli.options import change_options


@click.group(cls=PlainGroup)
def cache() -> None:
    """See to the cache in which Apache keeps its staples."""


@cache.command()
@change_options
def fit(**options: Any) -> None:
    """Give Apache a staple cache that holds the staples of all certificates, verified.

    In one that is too small staples are lost and asked for again and again, while visitors wait. `ocsp-stapling
    undo` takes it back.

    Exit status: 0 done, 1 refused (nothing touched), 3 failed and restored, 4 failed and not restored.
    """
    from ocsp_stapling.change.request import CACHE_FIT
    from ocsp_stapling.cli.switching import carry_out

    sys.exit(carry_out(CACHE_FIT, options))
