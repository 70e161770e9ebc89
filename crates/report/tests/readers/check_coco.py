"""Reads coco.json with pycocotools and compares it with results.ndjson.

    check_coco.py COCO.JSON RESULTS.NDJSON
"""

import json
import sys

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def main(path, ndjson):
    coco = COCO(path)
    results = [json.loads(line) for line in open(ndjson, encoding="utf-8")]
    analysed = {result["index"]: result for result in results if result["detection"]}
    assert sorted(coco.getImgIds()) == sorted(analysed)
    assert all(isinstance(coco.dataset["info"][field], str) for field in ["description", "version", "date_created"])
    assert coco.dataset["licenses"] == []

    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    for index, result in analysed.items():
        (image,) = coco.loadImgs([index])
        photo = result["photo"]
        assert image["file_name"] == photo["key"]
        assert (image["width"], image["height"]) == (photo["width"], photo["height"])
        assert image.get("date_captured") == photo["taken_at"]
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[index]))
        boxes = result["detection"]["boxes"]
        assert len(annotations) == len(boxes)
        for annotation, box in zip(annotations, boxes):
            x1, y1, x2, y2 = box["box"]
            assert annotation["id"] > 0
            assert annotation["bbox"] == [x1, y1, x2 - x1, y2 - y1]
            assert annotation["area"] == (x2 - x1) * (y2 - y1)
            assert annotation["iscrowd"] == 0
            assert annotation["score"] == box["confidence"]
            assert names[annotation["category_id"]] == box["class"]

    # The polygon is the box, pixel by pixel.
    annotation = coco.loadAnns(coco.getAnnIds())[0]
    mask = coco.annToMask(annotation)
    x, y, width, height = annotation["bbox"]
    expected = np.zeros_like(mask)
    expected[y : y + height, x : x + width] = 1
    assert np.array_equal(mask, expected)

    # As predictions against itself as ground truth, everything is found.
    predicted = coco.loadRes([
        {field: annotation[field] for field in ["image_id", "category_id", "bbox", "score"]}
        for annotation in coco.dataset["annotations"]
    ])
    evaluation = COCOeval(coco, predicted, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == 1.0, evaluation.stats


main(*sys.argv[1:])
