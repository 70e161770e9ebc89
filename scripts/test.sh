#!/usr/bin/env bash
# Starts a RabbitMQ and an S3 server of its own, runs every test of the workspace, then adds up what the test binaries
# reported.
set -euo pipefail
cd "$(dirname "$0")/.."

work="$(mktemp -d)"
log="$work/log"
stop() {
    scripts/servers/rabbitmq.sh stop "$work/rabbitmq" || true
    scripts/servers/garage.sh stop "$work/garage" || true
    rm -rf "$work"
}
trap stop EXIT

echo "starting RabbitMQ and Garage"
scripts/servers/rabbitmq.sh start "$work/rabbitmq" --management > "$work/env"
scripts/servers/garage.sh start "$work/garage" >> "$work/env"
set -a
# shellcheck source=/dev/null
. "$work/env"
set +a
PITCHFLEET_ONNXRUNTIME="$(scripts/onnxruntime.sh)"
export PITCHFLEET_ONNXRUNTIME
PITCHFLEET_TEST_READERS="$(scripts/readers.sh)"
export PITCHFLEET_TEST_READERS

status=0
cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log" || status=$?
awk '/^test result:/ { passed += $4; failed += $6 }
     END { printf "\n%d passed, %d failed\n", passed, failed }' "$log"
exit "$status"
