#!/usr/bin/env bash
# Runs every test of the workspace and of the Helm chart beside a RabbitMQ and an S3 server of its own, and those of
# deploy/, then adds up what they reported.
set -euo pipefail
cd "$(dirname "$0")/.."

log="$(mktemp)"
trap 'rm -f "$log"' EXIT
PITCHFLEET_ONNXRUNTIME="$(scripts/onnxruntime.sh)"
export PITCHFLEET_ONNXRUNTIME
PITCHFLEET_TEST_READERS="$(scripts/readers.sh)"
export PITCHFLEET_TEST_READERS
# What cargo builds on the way; chart and Compose are tried with it.
PITCHFLEET_TEST_PROGRAM="$(realpath -m "${CARGO_TARGET_DIR:-target}")/debug/pitchfleet"
export PITCHFLEET_TEST_PROGRAM

status=0
# shellcheck disable=SC2016
scripts/servers.sh bash -c '
    status=0
    cargo test --workspace --locked --no-fail-fast || status=$?
    helm/tests/run.sh || status=$?
    exit "$status"' 2>&1 | tee "$log" || status=$?
deploy/tests/run.sh 2>&1 | tee -a "$log" || status=$?
awk '/^test result:/ { passed += $4; failed += $6 }
     END { printf "\n%d passed, %d failed\n", passed, failed }' "$log"
exit "$status"
