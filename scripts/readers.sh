#!/usr/bin/env bash
# Installs the Python packages of scripts/readers.txt, which read what pitchfleet exports in the tests, into a folder
# of the user's cache and prints the folder. One that is already there is not installed again.
set -euo pipefail
cd "$(dirname "$0")"

# A compiled package fits one version of Python.
version="$(python3 -c 'import sys; print(*sys.version_info[:2], sep=".")')"
key="$({ cat readers.txt; echo "$version"; uname -m; } | sha256sum | cut -c1-16)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/pitchfleet/readers"
folder="$cache/$key"
if [ ! -d "$folder" ]; then
    mkdir -p "$cache"
    work="$(mktemp -d "$cache/.install.XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    echo "installing the readers of exports" >&2
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --only-binary :all: --no-deps \
        --target "$work/packages" --requirement readers.txt >&2
    # Somebody else may have been faster; theirs is the same.
    mv -T "$work/packages" "$folder" 2>/dev/null || [ -d "$folder" ]
fi
echo "$folder"
