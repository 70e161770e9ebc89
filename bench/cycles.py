"""What a worker holds after each of many unloads: does all of it come back?

    make build
    scripts/servers.sh "$cache/venv/bin/python" bench/cycles.py target/release/pitchfleet samples \\
        --picture docs/images/worker-cycles.svg

(`bench/run.sh` makes the environment.) One API and one worker with `unload_grace = "0s"`: each batch of five photos, all of
them different from those before, loads the models and unloads them, and the receipt of that unload is asked of the API.
Ends with code 1 if the floor moved by more than 1 MB, or a receipt tells of more than a tenth of the floor and 2 MB left behind.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile
import time
import urllib.error

from fleet import Fleet, distinct_photos

MB = 1 << 20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("photos", type=pathlib.Path)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--picture", type=pathlib.Path, help="write before, after and floor of each cycle as SVG")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        fleet = Fleet(arguments.binary.resolve(), place)
        fleet.environment["PITCHFLEET_WORKER_UNLOAD_GRACE"] = "0s"
        fleet.environment["PITCHFLEET_WORKER_NAME"] = "cycles"
        processes = [fleet.start("api", "--listen", f"127.0.0.1:{fleet.port}"), fleet.start("worker")]
        try:
            fleet.wait_until_up()
            # Which models a photo is for, the API knows from a worker's heartbeat.
            while not fleet.get("/v1/workers")["workers"]:
                fleet.assert_running(processes[1])
                time.sleep(0.1)
            receipts = [cycle(fleet, place / f"{i}", arguments.photos, i) for i in range(arguments.cycles)]
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()

    # The worker settles in its first unloads: connections, buffers, what is read once.
    settled = receipts[3:]
    floors = [receipt["floor_bytes"] / MB for receipt in receipts]
    after = [receipt["after_bytes"] / MB for receipt in settled]
    residues = [receipt["residue_bytes"] / MB for receipt in settled]
    over = sum(receipt["residue_bytes"] > max(receipt["floor_bytes"] / 10, 2 * MB) for receipt in settled)
    tenth = max(len(after) // 10, 1)
    moved = statistics.median(after[-tenth:]) - statistics.median(after[:tenth])
    print(f"cycles             {len(receipts)}")
    print(f"before unloading   {statistics.median(r['before_bytes'] for r in settled) / MB:.1f} MB (median)")
    print(f"after              {min(after):.1f} to {max(after):.1f} MB; last tenth against first {moved:+.2f} MB")
    print(f"floor              {floors[0]:.1f} MB at first, {floors[-1]:.1f} MB at last")
    print(f"residue            {max(residues):.2f} MB at most; over a tenth of the floor: {over}")
    if arguments.picture:
        draw(arguments.picture, receipts)
    sys.exit(moved > 1 or over > 0)


def cycle(fleet, folder, photos, number):
    """The receipt of the unload after one batch."""
    distinct_photos(photos, folder, 5, f"cycle {number}")
    status, _ = fleet.finish(fleet.submit(folder))
    if status["counts"]["ok"] != 5:
        raise SystemExit(f"cycle {number}: {status}")
    return wait_for_receipt(fleet)


def wait_for_receipt(fleet):
    for _ in range(300):
        try:
            unloads = fleet.get("/v1/workers/cycles/memory")["unloads"]
        except urllib.error.HTTPError:
            unloads = []  # The API began after the worker's first heartbeat.
        if unloads and unloads[-1]["at_ms"] > wait_for_receipt.last:
            wait_for_receipt.last = unloads[-1]["at_ms"]
            return unloads[-1]
        time.sleep(0.1)
    raise SystemExit("no receipt within 30 s")


wait_for_receipt.last = 0


def draw(path, receipts):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    numbers = range(1, len(receipts) + 1)
    figure, axis = plt.subplots(figsize=(9, 4))
    for key, label, style in (
        ("before_bytes", "before unloading", "-"),
        ("after_bytes", "after", "-"),
        ("floor_bytes", "floor", "--"),
    ):
        axis.plot(numbers, [receipt[key] / MB for receipt in receipts], style, label=label, linewidth=1)
    axis.set(xlabel="load, five photos, unload", ylabel="worker and engine, private MB", ylim=0)
    axis.set_title(f"Memory of a worker over {len(receipts)} unloads")
    axis.legend()
    axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
