#!/usr/bin/env bash
# Checks Dockerfile, docker-compose.yml and units, and runs what docker-compose.yml starts as processes on this machine.
# The latter needs PITCHFLEET_TEST_PROGRAM, an executable; scripts/test.sh and `make compose-check` give one.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHONPATH="$(scripts/python-packages.sh deploy/tests/requirements.txt)"
PITCHFLEET_ONNXRUNTIME="${PITCHFLEET_ONNXRUNTIME:-$(scripts/onnxruntime.sh)}"
export PYTHONPATH PITCHFLEET_ONNXRUNTIME
export PYTHONDONTWRITEBYTECODE=1
exec python3 scripts/unittests.py deploy/tests
