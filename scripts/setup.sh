#!/usr/bin/env bash
# Installs what building (`setup.sh build`) or testing (`setup.sh test`) needs on Debian and Ubuntu, and fetches
# the ONNX Runtime library. Without root it says which packages are missing and changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
stage="${1:-build}"

missing=()
need_command() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
need_library() { /sbin/ldconfig -p 2>/dev/null | grep -q "$1" || missing+=("$2"); }

need_command cc build-essential
need_command make make
need_command nasm nasm             # for the JPEG decoder's SIMD code: without it decoding is three times slower
need_command python3 python3
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
if [ "$stage" = test ]; then
    need_command openssl openssl       # a certificate for the broker that speaks TLS
    need_command chromium chromium     # the report page is tested in a real browser
    need_library libheif.so.1 libheif1 # HEIC photos
    need_command promtool prometheus   # rules and dashboards are tried with a real one
    # Debian's own start would run a node of the system's; scripts/servers/rabbitmq.sh installs without that.
    [ "$(id -u)" = 0 ] || [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing+=(rabbitmq-server)
    [ -e /usr/share/fonts/truetype/dejavu ] || missing+=(fonts-dejavu-core)
    if ! scripts/servers/garage.sh installed; then # the S3 server of the tests is built from source, once
        need_command cmake cmake
        need_command protoc protobuf-compiler
        need_command pkg-config pkg-config
    fi
fi

if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing: ${missing[*]}"
        export DEBIAN_FRONTEND=noninteractive
        # Packages bring services that nobody asked for; none is started.
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod +x "$policy"
            trap 'rm -f "$policy"' EXIT
        fi
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "These packages are missing: ${missing[*]}" >&2
        echo "Install them, then run the command again:  sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo "cargo is missing: install Rust 1.95 or newer from https://rustup.rs, then run the command again" >&2
    exit 1
fi

scripts/onnxruntime.sh >/dev/null
if [ "$stage" = test ]; then
    scripts/servers/garage.sh install
fi
