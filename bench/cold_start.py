"""How long a photo waits for a fleet that has nothing running, and for one that is there without its models.

    make build
    scripts/servers.sh python3 bench/cold_start.py target/release/pitchfleet samples

A photo is submitted and nobody is there to take it; then a worker is started, as a pod would be, and the time until the
result counts: process, broker, bucket, models, photo. Node and image come on top of that in a cluster. For comparison:
from submitting to the result with a worker that has unloaded its models, and with one that has them loaded.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

from fleet import Fleet, distinct_photos


def until_done(fleet, worker, batch):
    while fleet.get(f"/v1/batches/{batch}")["counts"]["ok"] < 1:
        fleet.assert_running(worker)
        time.sleep(0.005)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("photos", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    times = {"no worker": [], "worker without models": [], "worker with models": []}

    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        fleet = Fleet(arguments.binary.resolve(), place)
        # No worker says which models there are.
        bundle = pathlib.Path(__file__).resolve().parent.parent / "bundles/demo"
        fleet.environment["PITCHFLEET_MODELS_BUNDLE"] = str(bundle)
        api = fleet.start("api", "--listen", f"127.0.0.1:{fleet.port}")
        photos = 0

        def photo():
            nonlocal photos
            photos += 1
            folder = place / f"photo-{photos}"
            distinct_photos(arguments.photos, folder, 1, f"{photos}")
            return folder

        def stop(worker):
            worker.terminate()
            worker.wait()

        try:
            fleet.wait_until_up()
            for _ in range(arguments.rounds):
                batch = fleet.submit(photo())
                time.sleep(1)  # for its job to be in the queue
                began = time.perf_counter()
                worker = fleet.start("worker")
                until_done(fleet, worker, batch)
                times["no worker"].append(time.perf_counter() - began)
                stop(worker)
            for what, grace in [("worker without models", "0s"), ("worker with models", "never")]:
                fleet.environment["PITCHFLEET_WORKER_UNLOAD_GRACE"] = grace
                worker = fleet.start("worker")
                until_done(fleet, worker, fleet.submit(photo()))
                for _ in range(arguments.rounds):
                    time.sleep(1)  # for the models to go, where they do
                    batch = fleet.submit(photo())
                    began = time.perf_counter()
                    until_done(fleet, worker, batch)
                    times[what].append(time.perf_counter() - began)
                stop(worker)
        finally:
            api.terminate()
            api.wait()

    print("| from nothing to the first result | median s | least, most |")
    print("|---|---|---|")
    for what, seconds in times.items():
        print(f"| {what} | {statistics.median(seconds):.2f} | {min(seconds):.2f}, {max(seconds):.2f} |")


if __name__ == "__main__":
    main()
