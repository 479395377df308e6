"""Stand-in for /usr/local/cpanel/bin/unregister_appconfig, following "Register an Application with
AppConfig".
"""

import re
import sys
from pathlib import Path

APPS = Path("/var/cpanel/apps")


def main() -> int:
    name = sys.argv[-1].removesuffix(".conf").rsplit("/", 1)[-1]
    if len(sys.argv) != 2 or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        print("Usage: unregister_appconfig NAME", file=sys.stderr)
        return 1
    path = APPS / f"{name}.conf"
    if not path.exists():
        print(f"{name} is not registered", file=sys.stderr)
        return 1
    path.unlink()
    print(f"{name} unregistered")
    return 0


if __name__ == "__main__":
    sys.exit(main())
