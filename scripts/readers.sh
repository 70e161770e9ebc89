#!/usr/bin/env bash
# Installs the packages of scripts/readers.txt, which read what pitchfleet exports in the tests, and prints their folder.
set -euo pipefail
cd "$(dirname "$0")"
exec ./python-packages.sh readers.txt
