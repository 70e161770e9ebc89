"""A worker with little memory and photos of all sizes: does it finish them, and does the kernel leave it alone?

    make build
    scripts/servers.sh "$cache/venv/bin/python" bench/small_worker.py target/release/pitchfleet samples

(`bench/run.sh` makes the environment.) The worker and its engine run in a memory cgroup of their own (v2 or v1, needs
root), with --limit MB and no swap; broker, bucket, API and client are outside. Ends with code 1 if a photo failed, the
kernel killed anything, or the worker ended.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from fleet import Fleet

MB = 1 << 20
# Width, height, how many: 2, 12, 24, 50 and 100 megapixels.
SIZES = [(1632, 1224, 20), (4000, 3000, 8), (6000, 4000, 6), (8192, 6144, 4), (11520, 8640, 4)]


class Cgroup:
    """A memory cgroup with a limit, whichever version the machine has."""

    def __init__(self, limit):
        root = pathlib.Path("/sys/fs/cgroup")
        self.v2 = (root / "cgroup.controllers").exists()
        self.folder = (root if self.v2 else root / "memory") / f"pitchfleet-bench-{os.getpid()}"
        self.folder.mkdir()
        if self.v2:
            (self.folder / "memory.max").write_text(str(limit))
            self._try("memory.swap.max", 0)
        else:
            (self.folder / "memory.limit_in_bytes").write_text(str(limit))
            self._try("memory.memsw.limit_in_bytes", limit)

    def _try(self, name, value):
        try:
            (self.folder / name).write_text(str(value))
        except OSError:
            pass  # Kernels without swap accounting have no such file.

    def enter(self):
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def peak(self):
        name = "memory.peak" if self.v2 else "memory.max_usage_in_bytes"
        return int((self.folder / name).read_text())

    def kills(self):
        name = "memory.events" if self.v2 else "memory.oom_control"
        lines = dict(line.split() for line in (self.folder / name).read_text().splitlines())
        return int(lines.get("oom_kill", 0))

    def remove(self):
        self.folder.rmdir()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("photos", type=pathlib.Path)
    parser.add_argument("--limit", type=int, default=220, help="MB")
    arguments = parser.parse_args()
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "pitchfleet/bench"

    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        mixed = place / "mixed"
        mixed.mkdir()
        for width, height, count in SIZES:
            made = cache / f"mixed-{width}x{height}"
            if len(list(made.glob("*.jpg"))) < count:
                make = pathlib.Path(__file__).with_name("make_photos.py")
                size = ["--width", str(width), "--height", str(height), "--count", str(count)]
                subprocess.run([sys.executable, make, arguments.photos, made, *size], check=True)
            for photo in sorted(made.glob("*.jpg"))[:count]:
                shutil.copy(photo, mixed / f"{photo.stem}-{width}.jpg")
        photos = len(list(mixed.iterdir()))

        cgroup = Cgroup(arguments.limit * MB)
        fleet = Fleet(arguments.binary.resolve(), place)
        api = fleet.start("api", "--listen", f"127.0.0.1:{fleet.port}")
        log = open(place / "worker.log", "wb")
        worker = subprocess.Popen(
            [fleet.binary, "worker"], env=fleet.environment, stdout=log, stderr=log, preexec_fn=cgroup.enter
        )
        try:
            fleet.wait_until_up()
            status, seconds = fleet.finish(fleet.submit(mixed))
            said = fleet.get("/v1/workers")["workers"][0]["last"]
            lived, kills, peak = worker.poll() is None, cgroup.kills(), cgroup.peak() / MB
        finally:
            for process in (worker, api):
                process.terminate()
            for process in (worker, api):
                process.wait()
            cgroup.remove()
        counts, model = status["counts"], said["model"]
        print(f"limit {arguments.limit} MB, {photos} photos of 2 to 100 MP, {model['lanes']} lanes, {model['precision']}")
        print(f"{counts['ok']} analysed, {counts['failed']} failed, in {seconds:.1f} s")
        print(f"engine ended by itself {model['restarts']} times, kernel killed {kills}, worker lived: {lived}")
        print(f"most that counted against the limit, page cache included: {peak:.0f} MB")
        if counts["ok"] != photos or kills or not lived:
            print((place / "worker.log").read_text()[-4000:], file=sys.stderr)
            raise SystemExit(1)


if __name__ == "__main__":
    main()
