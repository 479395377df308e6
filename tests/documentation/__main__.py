"""Write the generated pages: `python -m tests.documentation`."""

from __future__ import annotations

from tests.documentation.pages import DOCS, PAGES

if __name__ == "__main__":
    for name, render in PAGES.items():
        (DOCS / name).write_text(render())
