#!/usr/bin/env bash
# Fetches the ONNX Runtime library that pitchfleet is tested with and prints its path.
#
#   scripts/onnxruntime.sh          for CPUs
#   scripts/onnxruntime.sh --gpu    with the CUDA execution provider (x86_64; CUDA and cuDNN come from elsewhere)
#
# The library is taken out of the wheel on PyPI, through pip, so that a configured index, mirror or proxy is used.
# Wheel and library are checked against the SHA-256 below. A library that is already there is not fetched again.
set -euo pipefail

package=onnxruntime version=1.32.0
case "${1:-}" in
    "") ;;
    --gpu) package=onnxruntime-gpu version=1.31.1 ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac

machine="$(uname -m)"
case "$(uname -s)/$package/$machine" in
    Linux/onnxruntime/x86_64)
        wheel_sha256=99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8
        library_sha256=6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f ;;
    Linux/onnxruntime/aarch64)
        wheel_sha256=e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054
        library_sha256=49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a ;;
    Linux/onnxruntime-gpu/x86_64)
        wheel_sha256=05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7
        library_sha256=5104254339ecadae808da771bd0b63b240f0dbd466514234905e54372435c303 ;;
    *)
        echo "There is no pinned $package for $(uname -s) on $machine." >&2
        echo "Install ONNX Runtime 1.24 or newer yourself and set PITCHFLEET_ONNXRUNTIME to its library." >&2
        exit 1 ;;
esac

folder="${XDG_CACHE_HOME:-$HOME/.cache}/pitchfleet/$package/$version"
library="$folder/libonnxruntime.so.$version"
is_sound() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$library_sha256" ]; }

if is_sound "$library"; then
    echo "$library"
    exit 0
fi

if ! command -v python3 >/dev/null 2>&1; then
    echo "python3 is missing; it fetches and unpacks the library. Install it (Debian: apt-get install python3 python3-pip) and run this again." >&2
    exit 1
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "pip is missing; it fetches the library. Install it (Debian: apt-get install python3-pip) and run this again." >&2
    exit 1
fi

mkdir -p "$folder"
work="$(mktemp -d "$folder/.fetch.XXXXXX")"
trap 'rm -rf "$work"' EXIT

echo "fetching $package $version" >&2
# Any CPython's wheel carries the same C library; the one for 3.12 is pinned.
printf '%s==%s --hash=sha256:%s\n' "$package" "$version" "$wheel_sha256" >"$work/requirements.txt"
if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --python-version 3.12 --implementation cp --abi cp312 \
    --platform "manylinux_2_28_$machine" --platform "manylinux_2_27_$machine" \
    --dest "$work" --requirement "$work/requirements.txt" >&2; then
    echo "pip could not fetch $package $version (see above). Behind a closed network set PIP_INDEX_URL to your mirror," >&2
    echo "or put the library in place yourself and set PITCHFLEET_ONNXRUNTIME to it." >&2
    exit 1
fi

python3 - "$work" <<'PY'
import glob, os, sys, zipfile

work = sys.argv[1]
with zipfile.ZipFile(glob.glob(os.path.join(work, "*.whl"))[0]) as wheel:
    for name in wheel.namelist():
        base = os.path.basename(name)
        # Providers lie beside the library and are found there; TensorRT's is not used.
        if name.startswith("onnxruntime/capi/libonnxruntime") and ".so" in base and "tensorrt" not in base:
            with wheel.open(name) as packed, open(os.path.join(work, base), "wb") as out:
                while chunk := packed.read(1 << 20):
                    out.write(chunk)
PY

if ! is_sound "$work/libonnxruntime.so.$version"; then
    echo "the library in $package $version does not have the expected SHA-256; it is not used" >&2
    exit 1
fi
# The main library goes last: where it stands, its companions stand too.
for companion in "$work"/libonnxruntime_*.so; do
    [ -e "$companion" ] && mv -f "$companion" "$folder/"
done
mv -f "$work/libonnxruntime.so.$version" "$library"
echo "$library"
