#!/usr/bin/env bash
# Runs every test of the workspace beside a RabbitMQ and an S3 server of its own, those of the Helm chart and those of
# deploy/, then adds up what they reported.
set -euo pipefail
cd "$(dirname "$0")/.."

log="$(mktemp)"
trap 'rm -f "$log"' EXIT
PITCHFLEET_ONNXRUNTIME="$(scripts/onnxruntime.sh)"
export PITCHFLEET_ONNXRUNTIME
PITCHFLEET_TEST_READERS="$(scripts/readers.sh)"
export PITCHFLEET_TEST_READERS

status=0
scripts/servers.sh cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log" || status=$?
helm/tests/run.sh 2>&1 | tee -a "$log" || status=$?
deploy/tests/run.sh 2>&1 | tee -a "$log" || status=$?
awk '/^test result:/ { passed += $4; failed += $6 }
     END { printf "\n%d passed, %d failed\n", passed, failed }' "$log"
exit "$status"
