"""Runs the tests of this folder, or takes new renders (`--accept`). Its last line is read by scripts/test.sh."""

import sys
import unittest
from pathlib import Path

from chart import HERE, VALUES
from chart import golden as render


def accept() -> int:
    golden = HERE / "golden"
    for old in golden.glob("*.yaml"):
        old.unlink()
    for name in VALUES:
        (golden / f"{name}.yaml").write_text(render(name))
    print(f"{len(VALUES)} renders are in helm/tests/golden")
    return 0


def run() -> int:
    suite = unittest.TestLoader().discover(str(Path(__file__).parent))
    result = unittest.TextTestRunner(verbosity=1).run(suite)
    # A test of which several parts failed is one.
    failed = len({str(getattr(test, "test_case", test)) for test, _ in result.failures + result.errors})
    passed = result.testsRun - failed - len(result.skipped)
    word = "ok" if result.wasSuccessful() else "FAILED"
    print(f"test result: {word}. {passed} passed; {failed} failed")
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(accept() if sys.argv[1:] == ["--accept"] else run())
