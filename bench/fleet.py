"""The same photos through a fleet (RabbitMQ, Garage, API, one worker) and through `analyze`, in turn, in one run.

    scripts/servers.sh python3 bench/fleet.py --pitchfleet target/release/pitchfleet --photos FOLDER

Prints a Markdown table: CPU seconds per photo of worker and engine together and of `analyze` (its engine included),
their ratio round by round, the wall time of both, and the most memory that the worker process held (resident, without
its engine). The photos are uploaded and queued before the worker starts; broker, S3 server and API share the machine,
so walls say less than CPU time. Every round has photos of its own (a few bytes behind the end of the picture), because
the fleet does not analyse the same content twice.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time


def settings(port, bundle):
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PITCHFLEET_") or "ONNX" in k}
    test = {k.removeprefix("PITCHFLEET_TEST_"): v for k, v in os.environ.items() if k.startswith("PITCHFLEET_TEST_")}
    if "AMQP" not in test:
        sys.exit("no servers: run it as `scripts/servers.sh python3 bench/fleet.py …`")
    variables["PITCHFLEET_BROKER_URL"] = test["AMQP"]
    for name in ("ENDPOINT", "REGION", "BUCKET", "ACCESS_KEY", "SECRET_KEY"):
        variables[f"PITCHFLEET_STORE_{name}"] = test[f"S3_{name}"]
    variables["PITCHFLEET_MODELS_BUNDLE"] = str(bundle.resolve())
    variables["PITCHFLEET_API_LISTEN"] = f"127.0.0.1:{port}"
    variables["PITCHFLEET_SERVER"] = f"http://127.0.0.1:{port}"
    return variables


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def distinct_photos(source, folder, count, mark):
    photos = sorted(p for p in source.iterdir() if p.suffix.lower() in {".jpg", ".jpeg"})
    if not photos:
        sys.exit(f"no photos in {source}")
    folder.mkdir()
    for i in range(count):
        content = photos[i % len(photos)].read_bytes() + f"{mark} {i}".encode()
        (folder / f"{i:05}.jpg").write_bytes(content)


class Measured:
    """A process, its CPU time with that of all it waited for, and the most memory that it held itself."""

    def __init__(self, command, variables):
        self.process = subprocess.Popen(
            command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.began = time.perf_counter()
        self.peak = 0
        self.done = threading.Event()
        self.sampler = threading.Thread(target=self.sample, daemon=True)
        self.sampler.start()

    def sample(self):
        while not self.done.wait(0.1):
            try:
                status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
                self.peak = max(self.peak, int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024)
            except (OSError, TypeError):
                pass

    def end(self):
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.done.set()
        self.sampler.join()
        if self.process.returncode:
            sys.exit(f"failed with {self.process.returncode}: {' '.join(self.process.args)}")
        return usage.ru_utime + usage.ru_stime


def analyze(binary, folder, variables):
    out = tempfile.mkdtemp(prefix="pitchfleet-bench-")
    measured = Measured([binary, "analyze", str(folder), "--bundle", variables["PITCHFLEET_MODELS_BUNDLE"], "--out", out, "--overlays", "none"], variables)
    cpu = measured.end()
    wall = time.perf_counter() - measured.began
    shutil.rmtree(out)
    return cpu, wall


def fleet(binary, folder, variables):
    def client(*arguments):
        subprocess.run([binary, *arguments], env=variables, check=True, stdout=subprocess.DEVNULL)

    client("submit", str(folder), "--overlays", "none", "--detach")
    worker = Measured([binary, "worker"], variables)
    try:
        client("watch", "last")
        wall = time.perf_counter() - worker.began
    finally:
        worker.process.send_signal(signal.SIGTERM)
    return worker.end(), wall, worker.peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pitchfleet", required=True)
    parser.add_argument("--bundle", type=pathlib.Path, default="bundles/demo")
    parser.add_argument("--photos", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    variables = settings(free_port(), arguments.bundle)
    api = subprocess.Popen([arguments.pitchfleet, "api"], env=variables, stderr=subprocess.DEVNULL)
    rounds = []
    try:
        for number in range(arguments.rounds):
            with tempfile.TemporaryDirectory(prefix="pitchfleet-bench-") as scratch:
                folder = pathlib.Path(scratch, "photos")
                distinct_photos(arguments.photos, folder, arguments.count, f"{os.getpid()} {number}")
                alone = analyze(arguments.pitchfleet, folder, variables)
                rounds.append((*alone, *fleet(arguments.pitchfleet, folder, variables)))
    finally:
        api.send_signal(signal.SIGTERM)
        api.wait()

    count = arguments.count
    ratios = [r[2] / r[0] for r in rounds]
    alone_cpu, alone_wall, fleet_cpu, fleet_wall, peak = (statistics.median(column) for column in zip(*rounds))
    print(f"{count} photos, {len(rounds)} rounds (medians)\n")
    print("| `analyze`: CPU ms/photo | worker and engine: CPU ms/photo | ratio (min to max) | `analyze`: photos/s "
          "| fleet: photos/s | worker MB |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {1e3 * alone_cpu / count:.1f} | {1e3 * fleet_cpu / count:.1f} "
        f"| {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) "
        f"| {count / alone_wall:.1f} | {count / fleet_wall:.1f} | {peak:.1f} |"
    )


if __name__ == "__main__":
    main()
