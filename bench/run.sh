#!/usr/bin/env bash
# pitchfleet against the Python worker: makes two sets of photos from the samples, runs both in turn, prints tables.
set -euo pipefail
cd "$(dirname "$0")/.."
cache="${XDG_CACHE_HOME:-$HOME/.cache}/pitchfleet/bench"
binary="${CARGO_TARGET_DIR:-target}/release/pitchfleet"
mkdir -p "$cache"

python="$cache/venv/bin/python"
[ -x "$python" ] || python3 -m venv "$cache/venv"
"$python" -m pip install -q -r bench/requirements.txt

make_photos() { # NAME WIDTH HEIGHT COUNT
    [ -e "$cache/$1/.done" ] && return
    "$python" bench/make_photos.py samples "$cache/$1" --width "$2" --height "$3" --count "$4"
    touch "$cache/$1/.done"
}
make_photos 1280x960 1280 960 200
make_photos 24mp 6000 4000 40

"$python" bench/bundle_at.py bundles/demo "$cache/demo-640" 640

for bundle in bundles/demo "$cache/demo-640"; do
    echo "## $bundle"
    "$python" bench/compare.py --pitchfleet "$binary" --bundle "$bundle" \
        --photos "$cache/1280x960" "$cache/24mp" --rounds "${ROUNDS:-3}"
done
