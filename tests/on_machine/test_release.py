"""A release is the same bytes twice, and docs/install.md followed word by word installs it on a server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.machine import Machine, Shape
from tests.machine.machine import REPO
from tests.on_machine.admin import GLOBAL, call, stapled

pytestmark = [
    pytest.mark.machine,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not (REPO / ".git").exists(), reason="a release is made from a clone"),
]
PAGE = REPO / "docs/install.md"
PLACE = "/root/download"
INSTALLED = (
    "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()), sep='\\n')"
)


def build(directory: Path) -> dict[str, bytes]:
    subprocess.run([REPO / ".ci/release", directory], check=True, capture_output=True, cwd=REPO)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("release")
    build(directory)
    return directory


def section(title: str) -> list[str]:
    """The commands of a part of the page, without their comments."""
    part = PAGE.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", part, re.M | re.S)
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]


def version_of(release: Path) -> str:
    (bill,) = release.glob("*.cdx.json")
    return str(json.loads(bill.read_text())["metadata"]["component"]["version"])


def test_two_builds_of_one_commit_are_the_same_bytes(release: Path, tmp_path: Path) -> None:
    again = build(tmp_path)
    assert len(again) == 4
    assert again == {path.name: path.read_bytes() for path in release.iterdir()}


def test_the_page_of_the_installation_holds_word_by_word(release: Path) -> None:
    version = version_of(release)
    with Machine(Shape(plugin=False, distribution="almalinux-10", sites=2)) as server:
        shutil.copytree(release, server.path(PLACE))
        whole = f"ocsp-stapling-whm-{version}-with-wheels.tar.gz"  # no internet in a machine
        commands = section("Verify the download") + section("Install")
        assert commands[0].startswith("sha256sum --check")
        words = (
            "\n".join(commands).replace("ocsp-stapling-whm-VERSION.tar.gz", whole).replace("VERSION", version)
        )
        done = server.run("sh", "-exc", f"cd {PLACE}\n{words}", timeout=300)
        assert f"{whole}: OK" in done.stdout
        installed = server.run("/opt/ocsp-stapling/current/bin/python", "-I", "-c", INSTALLED).stdout
        here = {line.lower().replace("_", "-") for line in installed.splitlines()}
        (bill,) = release.glob("*.cdx.json")
        named = {f"{each['name']}=={each['version']}" for each in json.loads(bill.read_text())["components"]}
        assert named <= here, named - here
        assert {
            name for name in here - named if not name.startswith(("pip==", "ocsp-stapling-whm=="))
        } == set()
        goes_back(server)


def goes_back(server: Machine) -> None:
    """The last table of the page, from the top."""
    assert call(server, "off", "--yes").code == 0
    assert not stapled(server)
    assert call(server, "undo", "--yes").code == 0
    assert stapled(server)
    assert server.path(GLOBAL).read_bytes() == b""
    server.run("/opt/ocsp-stapling/current/uninstall.sh", "--yes", "--purge")
    for left in (
        "/opt/ocsp-stapling",
        "/etc/ocsp-stapling",
        "/var/lib/ocsp-stapling",
        "/usr/local/sbin/ocsp-stapling",
    ):
        assert not server.path(left).exists(), left
