#!/usr/bin/env bash
# An S3 server (Garage) of one's own, for tests and for trying the fleet on one machine: free ports on loopback,
# everything it writes in one folder, no service. Several run beside each other.
#
#   garage.sh install              build it (once, about five minutes on two cores; kept in the cache folder)
#   garage.sh installed            succeed if that has been done
#   garage.sh start DIR            install if absent, start, wait until ready, print what `env` prints
#   garage.sh stop DIR             stop the server; the data stays, and `start` continues on the same port
#   garage.sh kill DIR             the same without a goodbye, as a power cut would
#   garage.sh env DIR              print PITCHFLEET_TEST_S3_…=…, one a line
#   garage.sh ctl DIR ARGUMENTS…   garage's own command line against this server
set -euo pipefail

version=2.5.0
root="${XDG_CACHE_HOME:-$HOME/.cache}/pitchfleet/garage/$version"
garage="$root/bin/garage"

usage() { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }

install_if_absent() {
    [ -x "$garage" ] && return
    local tool missing=()
    for tool in cargo cmake protoc pkg-config; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    if [ "${#missing[@]}" -gt 0 ]; then
        echo "Building Garage needs ${missing[*]}. Run scripts/setup.sh test as root, or install Rust and" >&2
        echo "  sudo apt-get install cmake protobuf-compiler pkg-config" >&2
        exit 1
    fi
    mkdir -p "$root"
    # One build at a time: whoever comes second finds it done.
    exec 8>"$root/lock"
    flock 8
    if [ ! -x "$garage" ]; then
        echo "building Garage $version, once; this takes some minutes" >&2
        # Its build outputs are of no use afterwards, and they must not mix with the project's own.
        local build status=0
        build="$(mktemp -d)"
        CARGO_TARGET_DIR="$build" cargo install garage --version "$version" --locked --root "$root" \
            --no-default-features --features sqlite,bundled-libs >&2 || status=$?
        rm -rf "$build"
        [ "$status" = 0 ] || { echo "building Garage failed" >&2; exit 1; }
    fi
    flock -u 8
}

choose_ports() {
    python3 - <<'PY'
import socket
sockets = [socket.socket() for _ in range(2)]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))
PY
}

hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# Ports and keys are chosen once for a folder, so that a server that is stopped and started again is found where it was.
configure() {
    local s3 rpc
    read -r s3 rpc <<<"$(choose_ports)"
    cat >"$dir/garage.toml" <<EOT
metadata_dir = "$dir/meta"
data_dir = "$dir/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:$rpc"
rpc_public_addr = "127.0.0.1:$rpc"
rpc_secret = "$(hex 32)"

[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:$s3"
EOT
    cat >"$dir/env" <<EOT
PITCHFLEET_TEST_S3_ENDPOINT=http://127.0.0.1:$s3
PITCHFLEET_TEST_S3_REGION=garage
PITCHFLEET_TEST_S3_BUCKET=pitchfleet
PITCHFLEET_TEST_S3_ACCESS_KEY=GK$(hex 12)
PITCHFLEET_TEST_S3_SECRET_KEY=$(hex 32)
EOT
}

server() {
    [ -f "$dir/env" ] || { echo "no server has been started in $dir" >&2; exit 1; }
    # shellcheck source=/dev/null
    . "$dir/env"
    export RUST_LOG="${RUST_LOG:-garage=warn}"
}

running() { [ -s "$dir/pid" ] && kill -0 "$(cat "$dir/pid")" 2>/dev/null; }

print_env() { cat "$dir/env"; }

# The bucket is made some moments after the port is open; only then is the server of use.
ready() { "$garage" -c "$dir/garage.toml" bucket info "$PITCHFLEET_TEST_S3_BUCKET" >/dev/null 2>&1; }

start() {
    install_if_absent
    [ -f "$dir/env" ] || configure
    server
    if ! running; then
        # The caller's terminal and pipes are none of the server's business: it outlives them.
        GARAGE_DEFAULT_ACCESS_KEY="$PITCHFLEET_TEST_S3_ACCESS_KEY" \
            GARAGE_DEFAULT_SECRET_KEY="$PITCHFLEET_TEST_S3_SECRET_KEY" \
            GARAGE_DEFAULT_BUCKET="$PITCHFLEET_TEST_S3_BUCKET" \
            setsid "$garage" -c "$dir/garage.toml" server --single-node --default-bucket \
            >>"$dir/log" 2>&1 </dev/null &
        echo $! >"$dir/pid"
    fi
    local deadline=$((SECONDS + 120))
    until ready; do
        if ! running || [ "$SECONDS" -ge "$deadline" ]; then
            echo "Garage did not start; the end of $dir/log:" >&2
            tail -20 "$dir/log" >&2
            exit 1
        fi
        sleep 0.1
    done
    print_env
}

await_exit() { tail --sleep-interval=0.1 --pid="$1" -f /dev/null; }

stop() {
    if running; then
        local pid
        pid="$(cat "$dir/pid")"
        if [ "$1" = kill ]; then kill -KILL "$pid"; else kill -TERM "$pid"; fi
        await_exit "$pid"
    fi
    rm -f "$dir/pid"
}

[ $# -ge 1 ] || usage
verb="$1"
case "$verb" in
    install) install_if_absent; exit ;;
    installed) [ -x "$garage" ]; exit ;;
esac
[ $# -ge 2 ] || usage
mkdir -p "$2"
dir="$(cd "$2" && pwd)"
shift 2

case "$verb" in
    start) start ;;
    stop) stop term ;;
    kill) stop kill ;;
    env) server; print_env ;;
    ctl) server; exec "$garage" -c "$dir/garage.toml" "$@" ;;
    *) usage ;;
esac
