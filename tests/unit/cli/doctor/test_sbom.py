"""The release's bill of materials names exactly the packages that install.sh puts on a server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[4]


def test_it_names_every_pinned_package_with_the_hashes_that_are_accepted() -> None:
    argv = [sys.executable, str(REPO / ".ci/sbom"), "7.8.9"]
    printed = [subprocess.run(argv, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert printed[0] == printed[1]
    bill = json.loads(printed[0])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["version"] == "7.8.9"
    lines = [
        line
        for each in bill["components"]
        for line in (
            f"{each['name']}=={each['version']}",
            *(f"--hash={one['alg'].lower().replace('-', '')}:{one['content']}" for one in each["hashes"]),
        )
    ]
    lock = (REPO / "plugin/requirements.lock").read_text()
    assert lines == re.findall(r"^\s*([^#\s]\S+)", lock, re.MULTILINE)
    assert bill["dependencies"][0]["dependsOn"] == [each["purl"] for each in bill["components"]]
