"""pitchfleet against the Python worker on the same photos with the same models, in turn, in one run.

    python bench/compare.py --pitchfleet target/release/pitchfleet --bundle bundles/demo --photos FOLDER... [--rounds 3]

Prints a Markdown table per folder: photos per second of both, their ratio round by round, CPU seconds per photo, and
the peak memory of each process tree (proportional set size, sampled). Python's clock starts after its models are
loaded; pitchfleet's covers the whole command, from start to written report.
"""

import argparse
import json
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tomllib

import psutil


def tree_pss(process):
    total = 0
    try:
        for p in [process, *process.children(recursive=True)]:
            try:
                total += p.memory_full_info().pss
            except psutil.Error:
                pass
    except psutil.Error:
        pass
    return total


def run(command):
    """Runs a command; returns its standard output, wall and CPU seconds, and the peak memory of its tree in MB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak, done = [0], threading.Event()

    def sample():
        process = psutil.Process(child.pid)
        while not done.wait(0.2):
            peak[0] = max(peak[0], tree_pss(process))

    sampler = threading.Thread(target=sample)
    sampler.start()
    out, _ = child.communicate()
    wall = time.perf_counter() - began
    done.set()
    sampler.join()
    if child.returncode:
        sys.exit(f"failed with {child.returncode}: {' '.join(command)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return out, wall, cpu, peak[0] / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pitchfleet", required=True)
    parser.add_argument("--bundle", type=pathlib.Path, required=True)
    parser.add_argument("--photos", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    bundle = tomllib.loads((arguments.bundle / "bundle.toml").read_text())
    threshold = str(bundle["detector"]["confidence_threshold"])
    worker = str(pathlib.Path(__file__).with_name("python_worker.py"))

    def python(folder, precision):
        files = [str(arguments.bundle / bundle[network][precision]["file"]) for network in ("detector", "classifier")]
        out, _, cpu, peak = run(
            [sys.executable, worker, str(folder), "--detector", files[0], "--classifier", files[1], "--threshold", threshold]
        )
        report = json.loads(out)
        return report["wall_s"], cpu, peak

    def pitchfleet(folder, precision):
        out = tempfile.mkdtemp(prefix="pitchfleet-bench-")
        command = [arguments.pitchfleet, "analyze", str(folder), "--out", out, "--overlays", "none"]
        command += ["--precision", precision, "--bundle", str(arguments.bundle)]
        try:
            _, wall, cpu, peak = run(command)
        finally:
            shutil.rmtree(out)
        return wall, cpu, peak

    for folder in arguments.photos:
        photos = sum(1 for p in folder.rglob("*.jpg"))
        print(f"\n{folder.name}, {photos} photos, {arguments.rounds} rounds (medians)\n")
        print("| Python | pitchfleet | Python photos/s | pitchfleet photos/s | ratio (min to max) | CPU s/photo | peak MB |")
        print("|---|---|---|---|---|---|---|")
        for theirs, ours in (("fp32", "fp32"), ("int8", "int8"), ("fp32", "auto")):
            rounds = [(python(folder, theirs), pitchfleet(folder, ours)) for _ in range(arguments.rounds)]
            ratios = [a[0] / b[0] for a, b in rounds]
            a, b = ([statistics.median(side) for side in zip(*both)] for both in zip(*rounds))
            print(
                f"| {theirs} | {ours} | {photos / a[0]:.2f} | {photos / b[0]:.2f} "
                f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
                f"| {a[1] / photos:.3f} / {b[1] / photos:.3f} | {a[2]:.0f} / {b[2]:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
