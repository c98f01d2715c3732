"""Known vulnerabilities of the locked packages, as the package index tells them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

LOCK = Path(__file__).parent.parent / "requirements.lock"
EXPLAINED: dict[str, str] = {}
"""Advisories that do not touch this program, by their id, and why."""


def test_no_locked_package_has_a_known_vulnerability_that_is_not_explained():
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--no-deps", "--disable-pip"]
    done = subprocess.run(
        [*command, "--format", "json", "--progress-spinner", "off"], capture_output=True, text=True, check=False
    )
    if not done.stdout.strip():
        pytest.skip(f"the package index could not be asked: {done.stderr.strip().splitlines()[-1]}")
    packages = json.loads(done.stdout)["dependencies"]
    asked = [package for package in packages if "vulns" in package]
    if not asked:
        pytest.skip("the package index in use tells nothing of vulnerabilities")
    found = {(package["name"], known["id"]) for package in asked for known in package["vulns"]}
    assert {(name, known) for name, known in found if known not in EXPLAINED} == set()
