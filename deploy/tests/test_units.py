"""The systemd units: understood by systemd, fenced, and in step with the program and with docker-compose.yml."""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from stack import DEPLOY, services

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
ANALYZE = shutil.which("systemd-analyze")
# systemd's own scale from 0, nothing to reach, to 10; a service with no fences has 9.2 to 9.6.
EXPOSURE = 1.5


def keys(unit: Path) -> dict[str, list[str]]:
    """Of [Service], in order; one that is there twice adds to a list."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^([A-Z]\w+)=(.*)$", unit.read_text(), re.M):
        found.setdefault(name, []).append(value)
    return found


class Units(unittest.TestCase):
    def test_there_is_one_for_each_role(self):
        self.assertEqual([unit.stem for unit in UNITS], ["pitchfleet-api", "pitchfleet-worker"])
        for unit in UNITS:
            role = unit.stem.removeprefix("pitchfleet-")
            self.assertEqual(keys(unit)["ExecStart"], [f"/usr/bin/pitchfleet {role}"])

    def test_each_credential_is_used_and_no_secret_is_a_variable(self):
        for unit in UNITS:
            named = {value.split(":")[0] for value in keys(unit)["LoadCredential"]}
            given = dict(value.split("=", 1) for value in keys(unit)["Environment"])
            self.assertEqual({f"%d/{name}" for name in named}, set(given.values()), unit.name)
            for name in given:
                self.assertTrue(name.endswith("_FILE") or name == "PITCHFLEET_API_TOKENS", name)

    def test_they_have_as_much_time_to_stop_as_their_containers(self):
        for unit in UNITS:
            service = services()[unit.stem.removeprefix("pitchfleet-")]
            self.assertEqual(f"{keys(unit)['TimeoutStopSec'][0]}s", service["stop_grace_period"])

    @unittest.skipUnless(ANALYZE, "systemd-analyze is not here")
    def test_systemd_understands_them(self):
        with tempfile.TemporaryDirectory() as folder:
            for unit in UNITS:
                # The executable is not installed here.
                text = unit.read_text().replace("ExecStart=/usr/bin/pitchfleet", "ExecStart=/bin/true")
                (Path(folder) / unit.name).write_text(text)
            paths = [f"{folder}/{unit.name}" for unit in UNITS]
            said = subprocess.run([ANALYZE, "verify", "--man=no", *paths], capture_output=True, text=True, check=False)
        self.assertEqual((said.returncode, said.stderr), (0, ""))

    @unittest.skipUnless(ANALYZE, "systemd-analyze is not here")
    def test_they_leave_little_to_reach(self):
        for unit in UNITS:
            command = [ANALYZE, "security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}", unit]
            said = subprocess.run(command, capture_output=True, text=True, check=False)
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
