"""What a caller may see of other people's accounts: everything with root privileges, else their own."""

from __future__ import annotations

from pathlib import Path

from ocsp_stapling.web.identity import Caller
from ocsp_stapling.whm.accounts import Visible, owned_by


def visible_to(caller: Caller, root: Path = Path("/")) -> Visible:
    """Return which accounts and domains may be shown to `caller`; ask it for every name before it is shown.

    Raises Problem `accounts-unreadable` for a viewer when cPanel's lists cannot be read.
    """
    return Visible(everything=True) if caller.is_operator else owned_by(caller.user, root)
