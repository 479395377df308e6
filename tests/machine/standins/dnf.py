"""Stand-in for dnf(8): `dnf [-y] [-q] install PACKAGE...` from the machine's repository."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.machine import distributions


def main() -> int:
    words = [word for word in sys.argv[1:] if word not in ("-y", "-q", "--assumeyes", "--quiet")]
    if words[:1] != ["install"] or len(words) < 2:
        print(f"No such command: {' '.join(words)}", file=sys.stderr)
        return 1
    if not {"-y", "--assumeyes"} & set(sys.argv):
        print("Is this ok [y/N]: Operation aborted.", file=sys.stderr)
        return 1
    missing = distributions.install(words[1:])
    if missing:
        print(f"Error: Unable to find a match: {' '.join(missing)}", file=sys.stderr)
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
