"""What the fleet costs beyond the analysis: photos through RabbitMQ and S3 against `analyze` on the same folder.

    make build
    scripts/servers.sh python3 bench/fleet.py target/release/pitchfleet samples --count 1000

One API and one worker, each a process of its own. CPU time is that of the worker and its engine (from /proc), against
`analyze` with its engine; the servers and the client share the cores, so the walls are shown and not compared. Then a
set of ten photos is submitted to the idle fleet, and again behind the large one.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")
SCRIPTS = pathlib.Path(__file__).resolve().parent.parent / "scripts"


def distinct_photos(source, out, count, salt):
    """`count` JPEGs that differ in a comment only: equal work, and no result to reuse."""
    photos = sorted(p for p in source.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg"})
    out.mkdir(parents=True)
    for i in range(count):
        comment = f"{salt} {i}".encode()
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        data = photos[i % len(photos)].read_bytes()
        (out / f"{i:05}.jpg").write_bytes(data[:2] + segment + data[2:])


def cpu_seconds(pid):
    """CPU time of a process, its threads, and of children that ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) / TICKS


def children(pid):
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def resident_mb(pid, what="VmHWM"):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+)", status)[1]) / 1024


def machine_idle():
    return int(pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[4]) / TICKS


class Fleet:
    def __init__(self, binary, folder):
        name = f"bench{os.getpid()}"
        test = {key.removeprefix("PITCHFLEET_TEST_"): value for key, value in os.environ.items()}
        self.binary, self.folder, self.port = binary, folder, 18080 + os.getpid() % 1000
        # The fleet's home is a folder of its own, where no library lies.
        library = subprocess.run([SCRIPTS / "onnxruntime.sh"], check=True, capture_output=True, text=True).stdout.strip()
        self.environment = {"PITCHFLEET_ONNXRUNTIME": library} | os.environ | {
            "HOME": str(folder),
            "PITCHFLEET_BROKER_URL": test["AMQP"],
            "PITCHFLEET_BROKER_PREFIX": name,
            "PITCHFLEET_STORE_BUCKET": test["S3_BUCKET"],
            "PITCHFLEET_STORE_ENDPOINT": test["S3_ENDPOINT"],
            "PITCHFLEET_STORE_REGION": test["S3_REGION"],
            "PITCHFLEET_STORE_ACCESS_KEY": test["S3_ACCESS_KEY"],
            "PITCHFLEET_STORE_SECRET_KEY": test["S3_SECRET_KEY"],
            "PITCHFLEET_STORE_PREFIX": name,
            "PITCHFLEET_SERVER": f"http://127.0.0.1:{self.port}",
        }

    def start(self, *arguments):
        log = open(self.folder / f"{arguments[0]}.log", "wb")
        return subprocess.Popen([self.binary, *arguments], env=self.environment, stdout=log, stderr=log)

    def assert_running(self, worker):
        if worker.poll() is not None:
            raise SystemExit("the worker ended: " + (self.folder / "worker.log").read_text()[-2000:])

    def call(self, *arguments):
        done = subprocess.run([self.binary, *arguments], env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, arguments))}: {done.stderr}")
        return done.stdout

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
            return json.load(answer)

    def wait_until_up(self):
        for _ in range(200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz"):
                    return
            except OSError:
                time.sleep(0.1)
        raise SystemExit("the API is not ready: " + (self.folder / "api.log").read_text()[-2000:])

    def submit(self, folder):
        """Uploads a folder; its id once it is submitted."""
        self.call("submit", str(folder), "--detach")
        return self.get("/v1/batches?limit=1")["batches"][0]["id"]

    def finish(self, batch):
        """The batch in its final state, and the seconds that it took to get there from now."""
        began = time.perf_counter()
        while True:
            status = self.get(f"/v1/batches/{batch}")
            if status["state"] in {"completed", "cancelled", "failed"}:
                return status, time.perf_counter() - began
            time.sleep(0.05)


def idle_while_photos_wait(fleet, batch, photos):
    """The idle share of all cores from now until a twentieth of the photos is left."""
    began, idle = time.perf_counter(), machine_idle()
    while fleet.get(f"/v1/batches/{batch}")["counts"]["ok"] < photos * 0.95:
        time.sleep(0.05)
    return (machine_idle() - idle) / ((time.perf_counter() - began) * os.cpu_count())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("photos", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=1000)
    arguments = parser.parse_args()
    binary = arguments.binary.resolve()

    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        large, small = place / "large", [place / f"small-{i}" for i in range(3)]
        distinct_photos(arguments.photos, large, arguments.count, "large")
        for i, folder in enumerate(small):
            distinct_photos(arguments.photos, folder, 10, f"small {i}")

        began, before = time.perf_counter(), os.times()
        subprocess.run([binary, "analyze", large, "--out", place / "out"], check=True, capture_output=True)
        after = os.times()
        analyze = after.children_user + after.children_system - before.children_user - before.children_system
        analyze_wall = time.perf_counter() - began
        shutil.rmtree(place / "out")

        fleet = Fleet(binary, place)
        api = fleet.start("api", "--listen", f"127.0.0.1:{fleet.port}")
        worker = fleet.start("worker")
        try:
            fleet.wait_until_up()
            fleet.assert_running(worker)
            idle = {"worker": resident_mb(worker.pid, "VmRSS"), "api": resident_mb(api.pid, "VmRSS")}
            # The first batch loads the models; the second is what an idle, warm fleet takes.
            fleet.finish(fleet.submit(small[0]))
            alone_began = time.perf_counter()
            fleet.finish(fleet.submit(small[1]))
            alone = time.perf_counter() - alone_began

            start = cpu_seconds(worker.pid) + sum(map(cpu_seconds, children(worker.pid)))
            batch = fleet.submit(large)
            behind_began = time.perf_counter()
            fleet.finish(fleet.submit(small[2]))
            behind = time.perf_counter() - behind_began
            machine = idle_while_photos_wait(fleet, batch, arguments.count)
            status, _ = fleet.finish(batch)
            wall = time.perf_counter() - behind_began
            own, engine = cpu_seconds(worker.pid), sum(map(cpu_seconds, children(worker.pid)))
            spent = own + engine - start
            count = arguments.count + 10
            peaks = {"worker": resident_mb(worker.pid), "api": resident_mb(api.pid)}
        finally:
            for process in (worker, api):
                process.terminate()
            for process in (worker, api):
                process.wait()

    per_photo = 1e3 / arguments.count
    print(f"counts                 {status['counts']}")
    print(f"analyze                {analyze * per_photo:.1f} ms CPU/photo, wall {analyze_wall:.1f} s")
    print(f"worker + engine        {spent * 1e3 / count:.1f} ms CPU/photo, wall {wall:.1f} s with the servers beside")
    print(f"ratio                  {spent / count / (analyze / arguments.count):.3f}")
    print(f"cores idle meanwhile   {100 * machine:.1f} %")
    print(f"worker resident        {idle['worker']:.1f} MB idle, {peaks['worker']:.1f} MB at most")
    print(f"API resident           {idle['api']:.1f} MB idle, {peaks['api']:.1f} MB at most")
    print(f"ten photos             {alone:.2f} s alone, {behind:.2f} s behind {arguments.count}")


if __name__ == "__main__":
    main()
