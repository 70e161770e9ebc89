"""The Python worker that pitchfleet is measured against: onnxruntime + OpenCV, tuned as far as Python users go.

    python bench/python_worker.py FOLDER --detector FILE --classifier FILE [--processes 2] [--out FILE]

Each process owns single-threaded sessions and takes whole photos: decode, YOLOv8 letterbox and detection, surface
features, MobileNetV2, cricket rules. k-means runs on a 64x64 thumbnail and the crop is capped at 1920 pixels, so
that both sides do the same work. Prints one JSON line with wall and CPU seconds and the peak memory of the tree.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import resource
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
# Its makers' telemetry costs time, and pitchfleet leaves it out, too.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import cv2
import numpy as np
import onnxruntime
from PIL import Image

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
CLASSES = ("batting", "bowling", "seam", "spin")
MAX_SIDE = 1920
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def letterbox(bgr, size, stride=32):
    """Ultralytics' rectangular letterbox. Returns the NCHW tensor, the ratio and the (left, top) padding."""
    height, width = bgr.shape[:2]
    ratio = min(size / height, size / width)
    new_width, new_height = round(width * ratio), round(height * ratio)
    resized = cv2.resize(bgr, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    dw, dh = (-new_width % stride) / 2, (-new_height % stride) / 2
    top, bottom = round(dh - 0.1), round(dh + 0.1)
    left, right = round(dw - 0.1), round(dw + 0.1)
    padded = cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    tensor = padded[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    return np.ascontiguousarray(tensor), ratio, (left, top)


def best_box(output, ratio, padding, shape, threshold):
    """The best box in pixels of the photo, or None. NMS keeps the best box whatever else it drops."""
    boxes = output[0]
    scores = boxes[4:].max(axis=0)
    i = int(scores.argmax())
    if scores[i] <= threshold:
        return None
    cx, cy, w, h = boxes[:4, i]
    left, top = padding
    corners = np.array([cx - w / 2 - left, cy - h / 2 - top, cx + w / 2 - left, cy + h / 2 - top]) / ratio
    height, width = shape[:2]
    return np.clip(corners, 0, [width, height, width, height]).astype(int)


def surface(bgr):
    """The surface features of vision: grass, cracks, moisture, colour, texture, brightness."""
    hsv, grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV), cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    grass = cv2.inRange(hsv, (25, 40, 40), (85, 255, 255))
    edges = cv2.Canny(cv2.GaussianBlur(grey, (5, 5), 0), 50, 150)
    contours, _ = cv2.findContours(
        cv2.dilate(edges, np.ones((3, 3), np.uint8)), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    cracks = 0
    for contour in contours:
        if cv2.contourArea(contour) > 50:
            _, _, w, h = cv2.boundingRect(contour)
            cracks += max(w, h) / min(w, h) > 3
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_64F))
    mean, grey_deviation = cv2.meanStdDev(grey)
    dark = cv2.countNonZero(cv2.inRange(grey, 0, 99)) / grey.size * 100
    thumbnail = cv2.resize(bgr, (64, 64), interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 0.2)
    _, labels, centres = cv2.kmeans(thumbnail, 3, None, criteria, 3, cv2.KMEANS_PP_CENTERS)
    mean = float(mean[0, 0])
    return {
        "grass": cv2.countNonZero(grass) / grey.size * 100,
        "density": cv2.countNonZero(edges) / grey.size * 100,
        "cracks": int(cracks),
        "moisture": ((100 - mean / 255 * 100) + dark) / 2,
        "saturation": cv2.mean(hsv)[1],
        "mean_bgr": cv2.mean(bgr)[:3],
        "dominant_bgr": centres[np.bincount(labels.ravel()).argmax()].tolist(),
        "laplacian_variance": float(deviation[0, 0] ** 2),
        "std": float(grey_deviation[0, 0]),
        "brightness": mean,
    }


def classify(classifier, bgr):
    """Probabilities after Pillow's antialiased resize, as torchvision's transforms do it."""
    rgb = Image.fromarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)).resize((224, 224), Image.BILINEAR)
    tensor = ((np.asarray(rgb, np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)[None]
    logits = classifier.run(None, {classifier.get_inputs()[0].name: np.ascontiguousarray(tensor)})[0][0]
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def correct(probabilities, features):
    """The cricket rules."""
    p = dict(zip(CLASSES, map(float, probabilities)))
    grass, density, cracks, moisture = (features[k] for k in ("grass", "density", "cracks", "moisture"))
    severity = 3 if density > 5 or cracks > 20 else 2 if density > 2 or cracks > 10 else 1 if density > 0.5 or cracks > 3 else 0
    if grass > 60:
        p["bowling"] += 0.15
    elif grass > 40:
        p["bowling"] += 0.08
    p["spin"] += {3: 0.20, 2: 0.12}.get(severity, 0)
    if moisture <= 40 and grass < 30:
        p["seam"] += 0.15
    if severity <= 1 and 20 < grass < 50:
        p["batting"] += 0.10
    if moisture < 30 and density > 3:
        p["spin"] += 0.15
    if moisture > 40 and grass > 50:
        p["bowling"] += 0.12
    total = sum(p.values())
    return {k: v / total for k, v in p.items()}


class Worker:
    """One process: two sessions, one photo at a time."""

    def __init__(self, detector, classifier, threshold):
        cv2.setNumThreads(1)
        self.detector, self.classifier, self.threshold = session(detector), session(classifier), threshold
        # ultralytics writes the size that the model was made for into its metadata: "[640, 640]".
        metadata = self.detector.get_modelmeta().custom_metadata_map
        self.image_size = max(json.loads(metadata.get("imgsz", "[640, 640]")))

    def analyse(self, path):
        bgr = cv2.imdecode(np.frombuffer(pathlib.Path(path).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        tensor, ratio, padding = letterbox(bgr, self.image_size)
        output = self.detector.run(None, {self.detector.get_inputs()[0].name: tensor})[0]
        box = best_box(output, ratio, padding, bgr.shape, self.threshold)
        crop = bgr if box is None else bgr[box[1] : box[3], box[0] : box[2]]
        longest = max(crop.shape[:2])
        capped = crop
        if longest > MAX_SIDE:
            scale = MAX_SIDE / longest
            size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
            capped = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        features = surface(capped)
        probabilities = classify(self.classifier, crop)
        return {
            "photo": os.path.basename(path),
            "box": None if box is None else box.tolist(),
            "surface": features,
            "model": probabilities.tolist(),
            "corrected": correct(probabilities, features),
        }


WORKER = None


def start(ready, *arguments):
    global WORKER
    WORKER = Worker(*arguments)
    if ready:
        ready.wait()


def analyse(path):
    return WORKER.analyse(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--detector", required=True)
    parser.add_argument("--classifier", required=True)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path, help="write the results here, one JSON object a line")
    arguments = parser.parse_args()
    photos = sorted(str(p) for p in arguments.folder.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES)
    settings = (arguments.detector, arguments.classifier, arguments.threshold)

    # The clock starts when every process has its models: imports and loading are not held against Python.
    if arguments.processes == 1:
        start(None, *settings)
        began = time.perf_counter()
        results = [analyse(p) for p in photos]
    else:
        context = multiprocessing.get_context("spawn")
        ready = context.Barrier(arguments.processes + 1)
        with context.Pool(arguments.processes, start, (ready, *settings)) as pool:
            ready.wait()
            began = time.perf_counter()
            results = list(pool.imap(analyse, photos, chunksize=1))
            pool.close()
            pool.join()
    wall = time.perf_counter() - began

    if arguments.out:
        arguments.out.write_text("".join(json.dumps(r) + "\n" for r in results))
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        json.dumps(
            {
                "photos": len(photos),
                "wall_s": round(wall, 3),
                "cpu_s": round(own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime, 3),
                "photos_per_s": round(len(photos) / wall, 2),
                "largest_process_mb": round(max(own.ru_maxrss, children.ru_maxrss) / 1024),
            }
        )
    )


if __name__ == "__main__":
    main()
