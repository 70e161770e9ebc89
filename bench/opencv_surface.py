"""Times OpenCV, on one thread, for the features that `crates/pitch/benches/surface.rs` reads, on the same pixels.

    uv run --with opencv-python-headless --with numpy python bench/opencv_surface.py

Runs OpenCV, then our bench, then OpenCV again, and so on, so that a busy machine slows both; prints the medians and their
ratio. `--ours COMMAND` names another way to run our bench, such as a built executable followed by `--bench`.
`read` of ours includes the dominant colour; OpenCV's k-means is left out, because it alone takes seconds. `same features`
is ours without it.
"""
import argparse, pathlib, re, shlex, statistics, subprocess, time
import cv2
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZES = [(640, 480), (1280, 720), (1920, 1440)]
UNITS = {"ns": 1e-6, "µs": 1e-3, "us": 1e-3, "ms": 1.0, "s": 1e3}


def pixels(img):
    hsv, grey = cv2.cvtColor(img, cv2.COLOR_BGR2HSV), cv2.cvtColor(img, cv2.COLOR_BGR2GRAY)
    grass = cv2.countNonZero(cv2.inRange(hsv, (25, 40, 40), (85, 255, 255)))
    dark = cv2.countNonZero(cv2.inRange(grey, 0, 99))
    return grey, (grass, dark, cv2.mean(hsv), cv2.mean(img), cv2.meanStdDev(grey))


def edges(grey):
    return cv2.Canny(cv2.GaussianBlur(grey, (5, 5), 0), 50, 150)


def cracks(canny):
    contours, _ = cv2.findContours(
        cv2.dilate(canny, np.ones((3, 3), np.uint8)), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    count = 0
    for contour in contours:
        _, _, w, h = cv2.boundingRect(contour)
        count += cv2.contourArea(contour) > 50 and max(w, h) / min(w, h) > 3
    return cv2.countNonZero(canny), count


def laplacian(grey):
    return cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_64F))


def kernels(img):
    """A call for each kernel of `benches/surface.rs`, and one for all: everything that the features need of a BGR uint8
    image (h, w, 3), but k-means."""
    grey, _ = pixels(img)
    canny = edges(grey)

    def read():
        grey, sums = pixels(img)
        return sums, cracks(edges(grey)), laplacian(grey)

    return {
        "pixels": lambda: pixels(img),
        "edges": lambda: edges(grey),
        "cracks": lambda: cracks(canny),
        "laplacian": lambda: laplacian(grey),
        "read": read,
    }


def opencv_ms(call, seconds=0.5):
    """Median time of one call."""
    call()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def ours_ms(command):
    """Criterion's middle estimate by kernel and size."""
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = re.findall(r"surface/([a-z ]+)/(\d+)x(\d+)\s+time:\s+\[\S+ \S+ (\S+) (\S+) \S+ \S+\]", text)
    return {(kernel, int(w), int(h)): float(value) * UNITS[unit] for kernel, w, h, value, unit in found}


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
    calls = {(kernel, w, h): call for w, h in SIZES for kernel, call in kernels(images[w, h]).items()}
    theirs, ours = {}, {}
    for _ in range(args.rounds):
        for key, call in calls.items():
            theirs.setdefault(key, []).append(opencv_ms(call))
        for key, ms in ours_ms(shlex.split(args.ours)).items():
            ours.setdefault(key, []).append(ms)
    print(f"OpenCV {cv2.__version__}, one thread\n")
    print("| kernel | size | OpenCV ms | ours ms | ours ms/MP | ratio |\n|---|---|---|---|---|---|")
    for w, h in SIZES:
        # Like with like: the features that both sides compute.
        ours["same features", w, h] = [
            read - colour for read, colour in zip(ours["read", w, h], ours["dominant colour", w, h])
        ]
        theirs["same features", w, h] = theirs["read", w, h]
    for (kernel, w, h), times in sorted(ours.items(), key=lambda row: row[0][1:]):
        b = statistics.median(times)
        a = statistics.median(theirs[kernel, w, h]) if (kernel, w, h) in theirs else None
        opencv, ratio = ("", "") if a is None else (f"{a:.2f}", f"{a / b:.1f}")
        print(f"| {kernel} | {w}x{h} | {opencv} | {b:.2f} | {b / (w * h / 1e6):.2f} | {ratio} |")


if __name__ == "__main__":
    main()
