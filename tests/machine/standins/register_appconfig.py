"""Stand-in for /usr/local/cpanel/bin/register_appconfig.

Follows "Guide to WHM Plugins - The AppConfig Configuration File" and "Register an Application with AppConfig"
(api.docs.cpanel.net): the file is stored as /var/cpanel/apps/NAME.conf; a name holds letters, digits, _ and
- only.
"""

import re
import sys
from pathlib import Path

APPS = Path("/var/cpanel/apps")
REQUIRED = ("name", "service", "url")


def main() -> int:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        print("Usage: register_appconfig FILE", file=sys.stderr)
        return 1
    text = Path(sys.argv[1]).read_text()
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    found = {key.strip(): value.strip() for key, _, value in pairs}
    missing = [key for key in REQUIRED if not found.get(key)]
    if missing or not re.fullmatch(r"[A-Za-z0-9_-]+", found["name"]) or not found["url"].startswith("/"):
        print(
            f"The file is not a valid AppConfig file: {', '.join(missing) or 'name or url'}", file=sys.stderr
        )
        return 1
    APPS.mkdir(parents=True, exist_ok=True)
    (APPS / f"{found['name']}.conf").write_text(text)
    print(f"{found['name']} registered")
    return 0


if __name__ == "__main__":
    sys.exit(main())
