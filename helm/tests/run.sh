#!/usr/bin/env bash
# Checks the chart with a real helm: golden renders, schemas, what it must refuse.
#
#   helm/tests/run.sh             run the tests
#   helm/tests/run.sh --accept    take the renders of now as golden ones
set -euo pipefail
cd "$(dirname "$0")/../.."
PITCHFLEET_TEST_HELM="$(scripts/helm.sh)"
PYTHONPATH="$(scripts/python-packages.sh helm/tests/requirements.txt)"
export PITCHFLEET_TEST_HELM PYTHONPATH
export PYTHONDONTWRITEBYTECODE=1
if [ "${1:-}" = --accept ]; then
    exec python3 helm/tests/accept.py
fi
exec python3 scripts/unittests.py helm/tests
