"""Times OpenCV, on one thread, for the features that `crates/pitch/benches/surface.rs` reads, on the same pixels.

    uv run --with opencv-python-headless --with numpy python bench/opencv_surface.py

Runs OpenCV, then our bench, then OpenCV again, and so on, so that a busy machine slows both; prints the medians and their
ratio. `--ours COMMAND` names another way to run our bench, such as a built executable followed by `--bench`.
Ours includes the dominant colour; OpenCV's k-means is left out, because it alone takes seconds.
"""
import argparse, pathlib, re, shlex, statistics, subprocess, time
import cv2
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZES = [(640, 480), (1280, 720), (1920, 1440)]
UNITS = {"ns": 1e-6, "µs": 1e-3, "us": 1e-3, "ms": 1.0, "s": 1e3}


def features(img):
    """Everything that the surface features need of a BGR uint8 image (h, w, 3), but k-means."""
    hsv, grey = cv2.cvtColor(img, cv2.COLOR_BGR2HSV), cv2.cvtColor(img, cv2.COLOR_BGR2GRAY)
    grass = cv2.countNonZero(cv2.inRange(hsv, (25, 40, 40), (85, 255, 255)))
    edges = cv2.Canny(cv2.GaussianBlur(grey, (5, 5), 0), 50, 150)
    dilated = cv2.dilate(edges, np.ones((3, 3), np.uint8))
    contours, _ = cv2.findContours(dilated, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cracks = 0
    for contour in contours:
        _, _, w, h = cv2.boundingRect(contour)
        cracks += cv2.contourArea(contour) > 50 and max(w, h) / min(w, h) > 3
    dark = cv2.countNonZero(cv2.inRange(grey, 0, 99))
    return grass, cv2.countNonZero(edges), cracks, dark, cv2.mean(hsv), cv2.mean(img), cv2.meanStdDev(grey), \
        cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_64F))


def opencv_ms(img, seconds=1.0):
    """Median time of one call."""
    features(img)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        features(img)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def ours_ms(command):
    """Criterion's middle estimate by size."""
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = re.findall(r"surface/read/(\d+)x(\d+)\s+time:\s+\[\S+ \S+ (\S+) (\S+) \S+ \S+\]", text)
    return {(int(w), int(h)): float(value) * UNITS[unit] for w, h, value, unit in found}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours", default="cargo bench -q -p pitch --bench surface -- --measurement-time 2")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    golden = cv2.imread(str(ROOT / "crates/pitch/tests/golden/surface/08.png"))
    images = {}
    for w, h in SIZES:
        tiles = (-(-h // golden.shape[0]), -(-w // golden.shape[1]), 1)
        images[w, h] = np.ascontiguousarray(np.tile(golden, tiles)[:h, :w])
    theirs, ours = {size: [] for size in SIZES}, {size: [] for size in SIZES}
    for _ in range(args.rounds):
        for size in SIZES:
            theirs[size].append(opencv_ms(images[size]))
        for size, ms in ours_ms(shlex.split(args.ours)).items():
            ours[size].append(ms)
    print(f"OpenCV {cv2.__version__}, one thread\n| size | OpenCV ms | ours ms | ours ms/MP | ratio |\n|---|---|---|---|---|")
    for size in SIZES:
        a, b = statistics.median(theirs[size]), statistics.median(ours[size])
        w, h = size
        print(f"| {w}x{h} | {a:.2f} | {b:.2f} | {b / (w * h / 1e6):.2f} | {a / b:.1f} |")


if __name__ == "__main__":
    main()
