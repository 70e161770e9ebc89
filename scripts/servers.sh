#!/usr/bin/env bash
# A RabbitMQ and an S3 server (Garage) on free loopback ports, in a temporary folder, for as long as this runs.
#
#   scripts/servers.sh             start both, print the settings that point to them, stop them on Ctrl-C
#   scripts/servers.sh COMMAND…    run a command with PITCHFLEET_TEST_… pointing to them, then stop them
#
#   scripts/servers.sh cargo test -p queue
set -euo pipefail
servers="$(cd "$(dirname "$0")/servers" && pwd)"

work="$(mktemp -d)"
stop() {
    trap '' INT TERM
    "$servers/rabbitmq.sh" stop "$work/rabbitmq" || true
    "$servers/garage.sh" stop "$work/garage" || true
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

echo "starting RabbitMQ and Garage" >&2
"$servers/rabbitmq.sh" start "$work/rabbitmq" --management >"$work/env"
"$servers/garage.sh" start "$work/garage" >>"$work/env"
set -a
# shellcheck source=/dev/null
. "$work/env"
set +a

if [ $# -gt 0 ]; then
    status=0
    "$@" || status=$?
    exit "$status"
fi

cat <<END

Both run until Ctrl-C, and what they hold goes with them. RabbitMQ's pages (guest, guest):
  http://${PITCHFLEET_TEST_AMQP_MANAGEMENT#*@}

For pitchfleet.toml:

  [broker]
  url = "$PITCHFLEET_TEST_AMQP"
  [store]
  endpoint = "$PITCHFLEET_TEST_S3_ENDPOINT"
  region = "$PITCHFLEET_TEST_S3_REGION"
  bucket = "$PITCHFLEET_TEST_S3_BUCKET"
  access_key = "$PITCHFLEET_TEST_S3_ACCESS_KEY"
  secret_key = "$PITCHFLEET_TEST_S3_SECRET_KEY"

Or, in another terminal:

  export PITCHFLEET_BROKER_URL='$PITCHFLEET_TEST_AMQP'
  export PITCHFLEET_STORE_ENDPOINT=$PITCHFLEET_TEST_S3_ENDPOINT
  export PITCHFLEET_STORE_REGION=$PITCHFLEET_TEST_S3_REGION
  export PITCHFLEET_STORE_BUCKET=$PITCHFLEET_TEST_S3_BUCKET
  export PITCHFLEET_STORE_ACCESS_KEY=$PITCHFLEET_TEST_S3_ACCESS_KEY
  export PITCHFLEET_STORE_SECRET_KEY=$PITCHFLEET_TEST_S3_SECRET_KEY

For single tests, in another terminal (cargo test -p queue):

$(sed "s/=\(.*\)/='\1'/; s/^/  export /" "$work/env")
END
# Nobody ever writes there; a signal ends the wait.
mkfifo "$work/never"
read -r <>"$work/never" || true
