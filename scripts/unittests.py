"""Runs the unittest tests of a folder. Its last line is read by scripts/test.sh.

    python3 scripts/unittests.py FOLDER
"""

import sys
import unittest

if __name__ == "__main__":
    suite = unittest.TestLoader().discover(sys.argv[1])
    result = unittest.TextTestRunner(verbosity=1).run(suite)
    # A test of which several parts failed is one.
    failed = len({str(getattr(test, "test_case", test)) for test, _ in result.failures + result.errors})
    passed = result.testsRun - failed - len(result.skipped)
    word = "ok" if result.wasSuccessful() else "FAILED"
    print(f"test result: {word}. {passed} passed; {failed} failed")
    sys.exit(0 if result.wasSuccessful() else 1)
