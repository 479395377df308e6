"""Takes the pictures in docs/screenshots from the page on a WHM-shaped machine, through the stand-in WHM.

Usage (root): python -m tests.screenshots [DIRECTORY]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.machine import Machine, Shape, why_not_here
from tests.machine.chromium import Window, why_no_browser, window
from tests.machine.cpanel import VIEWER
from tests.machine.whm import open_whm

RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"
DIRECTORY = Path(__file__).resolve().parents[1] / "docs/screenshots"
WIDE, PHONE = (1280, 900), (380, 800)


class Album:
    """Where the pictures go."""

    def __init__(self, page: Window, directory: Path) -> None:
        self.page, self.directory = page, directory
        directory.mkdir(parents=True, exist_ok=True)

    def take(self, name: str, size: tuple[int, int] = WIDE) -> None:
        """Take a picture of the whole page as wide as `size` and at least as high."""
        height = self.page.size(*size).driver.execute_script("return document.documentElement.scrollHeight")
        self.page.size(size[0], min(max(int(height), size[1]), 2200))
        time.sleep(0.2)
        file = self.directory / f"{name}.png"
        self.page.driver.save_screenshot(str(file))
        self.page.size(*WIDE)
        _shrink(file)

    def both(self, name: str) -> None:
        """Take it wide and on a phone."""
        self.take(name)
        self.take(f"{name}-phone", PHONE)


def _shrink(file: Path) -> None:
    """Make the file small where a program for it is installed."""
    if shutil.which("pngquant"):
        subprocess.run(["pngquant", "--force", "--skip-if-larger", "--output", file, file], check=False)
    if shutil.which("optipng"):
        subprocess.run(["optipng", "-quiet", "-o3", file], check=False)


def tell(machine: Machine, page: Window, album: Album) -> None:
    """Go through the story and take pictures on the way."""
    page.log_in()
    page.check()
    album.both("healthy")
    machine.fault("alpha", "hang")
    machine.run(RESTART, "--hard")
    visitors = machine.popen("sh", "-c", "machine visit 6; machine visit 4")
    page.check()
    visitors.communicate(timeout=120)
    page.check()
    album.both("stalling")
    for name in ("responders", "errorlog", "sites", "ticket", "elsewhere"):
        page.open(name)
        album.take(name)
    page.open("guide")
    album.both("guide")
    page.log_in(VIEWER)
    album.take("viewer")
    page.log_in().open("plan/off").one("#ost-reason").send_keys("Alpha's responder hangs, ticket 4711")
    album.both("plan")
    page.open("plan/off").one("#ost-reason").send_keys("Alpha's responder hangs, ticket 4711")
    crowd = machine.popen("sh", "-c", "machine visit 4")
    page.click("Turn stapling off").wait_for("Back to the overview")
    crowd.communicate(timeout=60)
    album.take("turned-off")
    machine.heal()
    page.open()
    page.check()
    album.both("off")
    page.dark().open()
    album.take("off-dark")
    page.dark(False).open("configuration")
    album.take("configuration")
    page.open("history")
    album.take("history")


def main() -> None:
    """Take all pictures."""
    if reason := why_not_here() or why_no_browser():
        raise SystemExit(reason)
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY
    with Machine(Shape()) as machine:
        open_whm(machine)
        with window(machine) as page:
            tell(machine, page, Album(page, directory))


if __name__ == "__main__":
    main()
