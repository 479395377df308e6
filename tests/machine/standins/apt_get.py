"""Stand-in for apt-get(8): `update`, `install -y PACKAGE...` from the machine's repository."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.machine import distributions


def main() -> int:
    options = {word for word in sys.argv[1:] if word.startswith("-")}
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if words == ["update"]:
        return 0
    if words[:1] != ["install"] or len(words) < 2:
        print(f"E: Invalid operation {' '.join(words)}", file=sys.stderr)
        return 100
    if not options & {"-y", "--yes", "--assume-yes", "-qq"}:
        print("Do you want to continue? [Y/n] Abort.", file=sys.stderr)
        return 1
    missing = distributions.install(words[1:])
    for name in missing:
        print(f"E: Unable to locate package {name}", file=sys.stderr)
    return 100 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
