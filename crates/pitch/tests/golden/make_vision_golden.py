"""Golden values for resampling, letterboxing, colour maps and blending, from OpenCV and Pillow themselves.

    uv run --with opencv-python-headless --with numpy --with pillow python make_vision_golden.py vision

Writes OUT/golden.json, and the colour maps' tables beside the code that uses them. The sources are not stored: `pattern` is simple enough for the tests to make again, and noisy enough that any wrong
weight or rounding shows. OpenCV 4.14 and 5.0 give the same values;
Pillow 11 resizes tall images in the other order and differs in the last bit.
"""
import hashlib, json, pathlib, sys
import cv2
import numpy as np
import PIL
from PIL import Image

TABLES = pathlib.Path(__file__).parents[2] / "src/pictures/colour_maps"
LINEAR = [((640, 480), (320, 240)), ((1280, 960), (640, 480)), ((333, 517), (412, 640)), ((100, 75), (640, 480)),
          ((1281, 963), (640, 481)), ((7, 5), (3, 9)), ((1, 1), (64, 64)), ((2, 3), (427, 640)), ((1, 40), (16, 640)),
          ((64, 64), (32, 33)), ((640, 480), (640, 480)), ((500, 3), (640, 4)), ((1999, 1501), (640, 481))]
PILLOW = [((224, 224), (224, 224)), ((225, 223), (224, 224)), ((1, 1), (224, 224)), ((2, 3), (224, 224)),
          ((100, 75), (224, 224)), ((448, 448), (224, 224)), ((1141, 1920), (224, 224)), ((2315, 977), (224, 224)),
          ((37, 1501), (224, 224)), ((3000, 5), (224, 224)), ((640, 333), (31, 57)), ((224, 900), (224, 224)),
          ((448, 672), (224, 224)), ((448, 673), (224, 224)), ((700, 2100), (224, 224))]
LETTERBOX = [(640, 480), (480, 640), (1280, 960), (4000, 3000), (333, 517), (641, 427), (1920, 1080), (100, 75),
             (3000, 40), (2, 3), (640, 640), (1023, 767)]


def pattern(width, height, seed):
    """uint8 (height, width, 3): the high bits of a 32-bit linear congruential generator, one step a sample."""
    n = width * height * 3
    values = np.empty(n, np.uint32)
    # The state after k steps is a^k x + c (a^k - 1)/(a - 1): build it by doubling.
    a, c, x = 1664525, 1013904223, seed
    multiplier, increment = a, c
    values[0] = (a * x + c) % 2**32
    filled = 1
    while filled < n:
        take = min(filled, n - filled)
        values[filled:filled + take] = ((values[:take].astype(np.uint64) * multiplier + increment) % 2**32).astype(np.uint32)
        increment = (multiplier * increment + increment) % 2**32
        multiplier = multiplier * multiplier % 2**32
        filled += take
    return (values >> 24).astype(np.uint8).reshape(height, width, 3)


def sha(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def letterbox(image, size=640, stride=32, auto=True):
    """ultralytics' LetterBox as its predictor calls it; gives the image and (ratio, left, top)."""
    h, w = image.shape[:2]
    r = min(size / h, size / w)
    new = max(round(w * r), 1), max(round(h * r), 1)
    dw, dh = size - new[0], size - new[1]
    if auto:
        dw, dh = dw % stride, dh % stride
    dw, dh = dw / 2, dh / 2
    if (w, h) != new:
        image = cv2.resize(image, new, interpolation=cv2.INTER_LINEAR)
    top, bottom = round(dh - 0.1), round(dh + 0.1)
    left, right = round(dw - 0.1), round(dw + 0.1)
    return cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114)), (r, left, top)


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    linear = [{"from": a, "to": b, "sha256": sha(cv2.resize(pattern(*a, 7), b))} for a, b in LINEAR]
    pillow = [{"from": a, "to": b, "sha256": sha(np.asarray(Image.fromarray(pattern(*a, 7)).resize(b, Image.BILINEAR)))}
              for a, b in PILLOW]
    boxes = []
    for size in LETTERBOX:
        for auto in (True, False):
            image, (r, left, top) = letterbox(pattern(*size, 7), auto=auto)
            boxes.append({"from": size, "fixed_square": not auto, "to": [image.shape[1], image.shape[0]], "ratio": r,
                          "left": left, "top": top, "sha256": sha(image.astype(np.float32).transpose(2, 0, 1) / np.float32(255))})
    maps = {}
    ramp = np.arange(256, dtype=np.uint8)
    for name, kind in (("hot", cv2.COLORMAP_HOT), ("jet", cv2.COLORMAP_JET)):
        table = cv2.applyColorMap(ramp, kind).reshape(256, 3)[:, ::-1]
        (TABLES / f"{name}.rgb").write_bytes(np.ascontiguousarray(table).tobytes())
        maps[name] = sha(table)
    first, second = np.meshgrid(ramp, ramp, indexing="ij")
    blends = {str(w): sha(cv2.addWeighted(first, round(1 - w, 1), second, w, 0)) for w in (0.3, 0.4)}
    (out / "golden.json").write_text(json.dumps({
        "opencv": cv2.__version__, "pillow": PIL.__version__, "linear": linear, "pillow_bilinear": pillow,
        "letterbox": boxes, "colour_maps": maps, "blends": blends}, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
