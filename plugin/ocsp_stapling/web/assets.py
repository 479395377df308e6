"""Style sheet and script: WHM serves them as static files and browsers keep them for 60 days, so their names change
with their content.

`python -m ocsp_stapling.web.assets DIRECTORY` puts them where WHM serves them from: docroot/cgi/ocsp-stapling/static.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("static")
_PUBLISHED = re.compile(r"page-[0-9a-f]{10}\.(?:css|js)")


@cache
def published_name(name: str) -> str:
    """Return the name under which `page.css` or `page.js` is served: with a digest of the content in it."""
    stem, _, ending = name.rpartition(".")
    digest = hashlib.sha256((SOURCE / name).read_bytes()).hexdigest()[:10]
    return f"{stem}-{digest}.{ending}"


def link(name: str) -> str:
    """Return the address of `page.css` or `page.js` as seen from index.cgi."""
    return f"static/{published_name(name)}"


def publish(directory: Path) -> tuple[Path, ...]:
    """Write the files into `directory`, readable for WHM's users, and remove those of earlier versions."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    wanted = {published_name(source.name): source for source in sorted(SOURCE.iterdir())}
    for name, source in wanted.items():
        temporary = directory / f".{name}.{os.getpid()}"
        temporary.write_bytes(source.read_bytes())
        temporary.chmod(0o644)
        temporary.replace(directory / name)
    for old in directory.iterdir():
        if _PUBLISHED.fullmatch(old.name) and old.name not in wanted:
            old.unlink(missing_ok=True)
    return tuple(directory / name for name in wanted)


if __name__ == "__main__":
    for written in publish(Path(sys.argv[1])):
        print(written)
