#!/usr/bin/env bash
# A RabbitMQ node of one's own, for tests and for trying the fleet on one machine: free ports on loopback, everything
# it writes in one folder, no service, no systemd. Several run beside each other, each with its own port mapper.
#
#   rabbitmq.sh start DIR [--management] [--tls]
#                                         install if absent (root), start, wait until ready, print what `env` prints
#   rabbitmq.sh stop DIR                  stop the node and its port mapper; the data stays, and `start` continues
#   rabbitmq.sh kill DIR                  the same without a goodbye, as a power cut would
#   rabbitmq.sh env DIR                   print PITCHFLEET_TEST_AMQP=… (and …_MANAGEMENT=…, or PITCHFLEET_TEST_AMQPS=…
#                                         and …_AUTHORITY=…, the file with its authority's certificate), one a line
#   rabbitmq.sh ctl DIR ARGUMENTS…        rabbitmqctl against this node
set -euo pipefail

BIN=/usr/lib/rabbitmq/bin # Debian's wrappers in /usr/sbin switch user and write to /var

usage() { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
verb="$1"
mkdir -p "$2"
dir="$(cd "$2" && pwd)"
shift 2

install_if_absent() {
    [ -x "$BIN/rabbitmq-server" ] && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "RabbitMQ is missing. Install it, then run the command again:  sudo apt-get install rabbitmq-server" >&2
        exit 1
    fi
    echo "installing: rabbitmq-server" >&2
    # One install at a time, and without the package starting its own service.
    exec 8>/tmp/pitchfleet-apt.lock
    flock 8
    local policy=/usr/sbin/policy-rc.d made=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        made=1
    fi
    export DEBIAN_FRONTEND=noninteractive
    local status=0
    { [ -x "$BIN/rabbitmq-server" ] || { apt-get update -qq &&
        apt-get install -y -qq --no-install-recommends rabbitmq-server; }; } >&2 || status=$?
    [ -z "$made" ] || rm -f "$policy"
    flock -u 8
    [ "$status" = 0 ] || { echo "installing rabbitmq-server failed" >&2; exit 1; }
}

choose_ports() {
    python3 - <<'PY'
import socket
sockets = [socket.socket() for _ in range(5)]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))
PY
}

# Ports are chosen once for a folder, so that a node that is stopped and started again is found where it was.
configure() {
    mkdir -p "$dir/mnesia" "$dir/log" "$dir/home"
    local amqp dist epmd web tls option management='' secured=''
    for option in "$@"; do
        case "$option" in
            --management) management=yes ;;
            --tls) secured=yes ;;
            *) usage ;;
        esac
    done
    read -r amqp dist epmd web tls <<<"$(choose_ports)"
    cat >"$dir/node.env" <<EOF
export HOME='$dir/home'
export ERL_EPMD_ADDRESS=127.0.0.1
export ERL_EPMD_PORT=$epmd
export RABBITMQ_NODENAME=pitchfleet-$amqp@localhost
export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1
export RABBITMQ_NODE_PORT=$amqp
export RABBITMQ_DIST_PORT=$dist
export RABBITMQ_MNESIA_BASE='$dir/mnesia'
export RABBITMQ_LOG_BASE='$dir/log'
export RABBITMQ_PID_FILE='$dir/pid'
export RABBITMQ_ENABLED_PLUGINS_FILE='$dir/plugins'
export RABBITMQ_CONFIG_FILE='$dir/rabbitmq'
export MANAGEMENT_PORT=${management:+$web}
export TLS_PORT=${secured:+$tls}
EOF
    echo "[${management:+rabbitmq_management}]." >"$dir/plugins"
    cat >"$dir/rabbitmq.conf" <<EOF
${management:+management.tcp.ip = 127.0.0.1
management.tcp.port = $web}
${secured:+listeners.ssl.1 = 127.0.0.1:$tls
ssl_options.cacertfile = $dir/authority.pem
ssl_options.certfile = $dir/certificate.pem
ssl_options.keyfile = $dir/key.pem}
# A test machine's disk may be nearly full without a test having to wait for it.
disk_free_limit.absolute = 50MB
EOF
    [ -z "$secured" ] || make_certificates
}

# A certificate for localhost, signed by an authority that nobody else knows.
make_certificates() {
    local key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
    openssl req -x509 "${key[@]}" -keyout "$dir/authority-key.pem" -out "$dir/authority.pem" \
        -subj "/CN=test authority" -days 30 2>/dev/null
    openssl req "${key[@]}" -keyout "$dir/key.pem" -subj /CN=localhost \
        -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" 2>/dev/null |
        openssl x509 -req -CA "$dir/authority.pem" -CAkey "$dir/authority-key.pem" -copy_extensions copy \
            -days 30 -out "$dir/certificate.pem" 2>/dev/null
}

node() {
    [ -f "$dir/node.env" ] || { echo "no node has been started in $dir" >&2; exit 1; }
    # shellcheck source=/dev/null
    . "$dir/node.env"
    # `+sbwt none`: schedulers that spin while they wait would take the cores from what is tested.
    export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none"
}

running() { [ -s "$dir/pid" ] && kill -0 "$(cat "$dir/pid")" 2>/dev/null; }

print_env() {
    echo "PITCHFLEET_TEST_AMQP=amqp://guest:guest@127.0.0.1:$RABBITMQ_NODE_PORT/%2f"
    if [ -n "$MANAGEMENT_PORT" ]; then
        echo "PITCHFLEET_TEST_AMQP_MANAGEMENT=http://guest:guest@127.0.0.1:$MANAGEMENT_PORT"
    fi
    if [ -n "$TLS_PORT" ]; then
        echo "PITCHFLEET_TEST_AMQPS=amqps://guest:guest@localhost:$TLS_PORT/%2f"
        echo "PITCHFLEET_TEST_AMQPS_AUTHORITY=$dir/authority.pem"
    fi
}

start() {
    install_if_absent
    [ -f "$dir/node.env" ] || configure "$@"
    node
    if ! running; then
        rm -f "$dir/pid"
        # A port mapper of its own, which may be ended whatever it believes to be registered.
        epmd -daemon -relaxed_command_check -port "$ERL_EPMD_PORT" -address 127.0.0.1
        # The caller's terminal and pipes are none of the node's business: it outlives them.
        setsid "$BIN/rabbitmq-server" >"$dir/log/console" 2>&1 </dev/null &
        echo $! >"$dir/group"
    fi
    # `wait` watches the pid file, then the boot; it fails when the node dies instead.
    if ! "$BIN/rabbitmqctl" --quiet wait --timeout 120 "$dir/pid" >"$dir/log/wait" 2>&1; then
        echo "RabbitMQ did not start; the end of $dir/log/console:" >&2
        tail -20 "$dir/log/console" "$dir/log/wait" >&2
        exit 1
    fi
    print_env
}

# The port mapper stays behind when its node ends; this one serves no other node.
end_epmd() { epmd -port "$ERL_EPMD_PORT" -kill >/dev/null 2>&1 || true; }

await_exit() { tail --sleep-interval=0.1 --pid="$1" -f /dev/null; }

stop() {
    [ -f "$dir/node.env" ] || return 0
    node
    if running; then
        local pid
        pid="$(cat "$dir/pid")"
        if [ "$1" = kill ]; then kill -KILL "$pid"; else kill -TERM "$pid"; fi
        await_exit "$pid"
    elif [ -s "$dir/group" ]; then
        # Stopped before it had got as far as writing its pid.
        kill -KILL -- "-$(cat "$dir/group")" 2>/dev/null || true
    fi
    rm -f "$dir/pid" "$dir/group"
    end_epmd
}

case "$verb" in
    start) start "$@" ;;
    stop) stop term ;;
    kill) stop kill ;;
    env) node; print_env ;;
    ctl) node; exec "$BIN/rabbitmqctl" "$@" ;;
    *) usage ;;
esac
