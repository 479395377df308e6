"""Stand-in for /usr/local/cpanel/scripts/rebuildhttpdconf.

Follows cPanel's documentation "The rebuildhttpdconf script" (docs.cpanel.net, WHM scripts): rebuilds
httpd.conf from the server's data; the include files of "Include Editor" are read if they exist. A
configuration that Apache refuses is not installed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.machine import ea4


def main() -> int:
    written, words = ea4.rebuild()
    if written:
        print("Built /etc/apache2/conf/httpd.conf OK")
        return 0
    print("Error: httpd.conf was not rebuilt, for Apache refuses the new one:", file=sys.stderr)
    print(words, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
