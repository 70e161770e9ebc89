#!/bin/sh
# Writes secrets of your own for docker-compose.yml: .env and tokens.toml beside it. What is there already is kept.
set -eu
cd "$(dirname "$0")/.."

hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1; }

if [ -e .env ] && [ -e tokens.toml ]; then
    echo ".env and tokens.toml are there already and are kept" >&2
    exit 0
elif [ -e .env ] || [ -e tokens.toml ]; then
    echo "One of .env and tokens.toml is there without the other: add what is missing by hand, or move it away." >&2
    exit 1
fi

token="pf_$(hex 32)"
umask 077
sed -e "s/^BROKER_PASSWORD=$/&$(hex 24)/" \
    -e "s/^STORE_ACCESS_KEY=$/&GK$(hex 12)/" \
    -e "s/^STORE_SECRET_KEY=$/&$(hex 32)/" \
    -e "s/^STORE_RPC_SECRET=$/&$(hex 32)/" \
    -e "s/^GRAFANA_PASSWORD=$/&$(hex 12)/" \
    -e "s/^PITCHFLEET_TOKEN=$/&$token/" .env.example >.env
cat >tokens.toml <<END
# Who may do what: the SHA-256 of each token. \`pitchfleet token create --help\` says more.
[[token]]
id = "compose"
sha256 = "$(printf %s "$token" | sha256)"
tenant = "ground"
scopes = ["admin"]
END
# The API's user in its container is not the owner, and a hash opens nothing.
chmod 644 tokens.toml
echo "wrote .env and tokens.toml; keep both out of git and backups that others read" >&2
