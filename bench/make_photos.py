"""Makes a folder of JPEGs of one size from a folder of photos, for benchmarks.

    python bench/make_photos.py SOURCE OUT --width 1280 --height 960 --count 200

Resizing alone gives files that are too smooth to be camera pictures, hence cheap to decode: sensor-like grain brings
a 24-megapixel file to the 8 to 10 MB that cameras write. Deterministic.
"""

import argparse
import pathlib

import cv2
import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=960)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--quality", type=int, default=92)
    arguments = parser.parse_args()

    sources = sorted(p for p in arguments.source.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if not sources:
        parser.error(f"no photos in {arguments.source}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(11)
    for i in range(arguments.count):
        image = cv2.imread(str(sources[i % len(sources)]))
        if image.shape[0] > image.shape[1]:
            image = cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)
        if (i // len(sources)) % 2:
            image = cv2.flip(image, 1)
        image = cv2.resize(image, (arguments.width, arguments.height), interpolation=cv2.INTER_CUBIC)
        grain = rng.normal(0, 3, (arguments.height, arguments.width, 1)).astype(np.float32)
        image = np.clip(image + grain, 0, 255).astype(np.uint8)
        cv2.imwrite(str(arguments.out / f"{i:05}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, arguments.quality])


if __name__ == "__main__":
    main()
