"""pitchfleet against the Python worker on the same photos with the same models, in turn, in one run.

    python bench/compare.py --pitchfleet target/release/pitchfleet --bundle bundles/demo --photos FOLDER... [--rounds 3]

Prints a Markdown table per folder: photos per second of both, their ratio round by round, CPU seconds per photo, and
the peak memory of each process tree (proportional set size, sampled). Python's clock starts after its models are
loaded; pitchfleet's covers the whole command, from start to written report. Memory is read in a run of its own: what
reads it holds up the processes that it reads, ours more than Python's.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
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


def peak_mb(command):
    """Runs a command; returns the peak memory of its process tree in MB."""
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, tree_pss(process))
        time.sleep(0.2)
    return peak / 2**20


def run(command):
    """Runs a command; returns its standard output, wall and CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    wall = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"failed with {done.returncode}: {' '.join(command)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, wall, cpu


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

    def python_command(folder, precision):
        files = [str(arguments.bundle / bundle[network][precision]["file"]) for network in ("detector", "classifier")]
        command = [sys.executable, worker, str(folder), "--detector", files[0], "--classifier", files[1]]
        return command + ["--threshold", threshold]

    def pitchfleet_command(folder, precision, out):
        command = [arguments.pitchfleet, "analyze", str(folder), "--out", out, "--overlays", "none"]
        return command + ["--precision", precision, "--bundle", str(arguments.bundle)]

    def python(folder, precision):
        out, _, cpu = run(python_command(folder, precision))
        return json.loads(out)["wall_s"], cpu

    def pitchfleet(folder, precision):
        with tempfile.TemporaryDirectory(prefix="pitchfleet-bench-") as out:
            _, wall, cpu = run(pitchfleet_command(folder, precision, out))
        return wall, cpu

    def peaks(folder, theirs, ours):
        with tempfile.TemporaryDirectory(prefix="pitchfleet-bench-") as out:
            return peak_mb(python_command(folder, theirs)), peak_mb(pitchfleet_command(folder, ours, out))

    for folder in arguments.photos:
        photos = sum(1 for p in folder.rglob("*.jpg"))
        print(f"\n{folder.name}, {photos} photos, {arguments.rounds} rounds (medians)\n")
        print("| Python | pitchfleet | Python photos/s | pitchfleet photos/s | ratio (min to max) | CPU s/photo | peak MB |")
        print("|---|---|---|---|---|---|---|")
        for theirs, ours in (("fp32", "fp32"), ("int8", "int8"), ("fp32", "auto")):
            rounds = [(python(folder, theirs), pitchfleet(folder, ours)) for _ in range(arguments.rounds)]
            ratios = [a[0] / b[0] for a, b in rounds]
            a, b = ([statistics.median(side) for side in zip(*both)] for both in zip(*rounds))
            memory = peaks(folder, theirs, ours)
            print(
                f"| {theirs} | {ours} | {photos / a[0]:.2f} | {photos / b[0]:.2f} "
                f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
                f"| {a[1] / photos:.3f} / {b[1] / photos:.3f} | {memory[0]:.0f} / {memory[1]:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
