#!/usr/bin/env bash
# Installs the Python packages of a list into a folder of the user's cache and prints the folder, for PYTHONPATH. One
# that is already there is not installed again.
#
#   scripts/python-packages.sh helm/tests/requirements.txt
set -euo pipefail
list="$1"

# A compiled package fits one version of Python.
version="$(python3 -c 'import sys; print(*sys.version_info[:2], sep=".")')"
key="$({ cat "$list"; echo "$version"; uname -m; } | sha256sum | cut -c1-16)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/pitchfleet/python"
folder="$cache/$key"
if [ ! -d "$folder" ]; then
    mkdir -p "$cache"
    work="$(mktemp -d "$cache/.install.XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    echo "installing the Python packages of $list" >&2
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --only-binary :all: --no-deps \
        --target "$work/packages" --requirement "$list" >&2
    # Somebody else may have been faster; theirs is the same.
    mv -T "$work/packages" "$folder" 2>/dev/null || [ -d "$folder" ]
fi
echo "$folder"
