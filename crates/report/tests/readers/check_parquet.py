"""Reads results.parquet with DuckDB and compares every column with results.ndjson: names, order, types, values.

    check_parquet.py RESULTS.PARQUET RESULTS.NDJSON SUMMARY.CSV
"""

import csv
import datetime
import json
import sys

import duckdb

BOOLEAN, BIGINT, DOUBLE, VARCHAR = "BOOLEAN", "BIGINT", "DOUBLE", "VARCHAR"
TIMESTAMP, LIST = "TIMESTAMP", "VARCHAR[]"
CLASSES = ["batting_friendly", "bowling_friendly", "seam_friendly", "spin_friendly"]


def at(*path):
    """The value at a path, None where any part of it is missing."""

    def read(result):
        value = result
        for part in path:
            if value is None:
                return None
            value = value[part]
        return value

    return read


def applied(function, read):
    return lambda result: None if read(result) is None else function(read(result))


def corner(i):
    return applied(lambda box: box[i], at("detection", "box"))


def timing(stage):
    return at("timing_ms", stage)


corrected, model = ("classification", "corrected"), ("classification", "model")
EXPECTED = {
    "index": (BIGINT, at("index")),
    "key": (VARCHAR, at("photo", "key")),
    "group": (VARCHAR, at("group")),
    "taken_at": (TIMESTAMP, applied(datetime.datetime.fromisoformat, at("photo", "taken_at"))),
    "outcome": (VARCHAR, at("outcome")),
    "failure_code": (VARCHAR, at("failure", "code")),
    "failure_message": (VARCHAR, at("failure", "message")),
    "class": (VARCHAR, at(*corrected, "class")),
    "confidence": (DOUBLE, at(*corrected, "confidence")),
    **{name: (DOUBLE, at(*corrected, "probabilities", name)) for name in CLASSES},
    "model_class": (VARCHAR, at(*model, "class")),
    "model_confidence": (DOUBLE, at(*model, "confidence")),
    "rules": (LIST, applied(lambda rules: [rule["rule"] for rule in rules], at("classification", "rules"))),
    "detected": (BOOLEAN, at("detection", "detected")),
    "detection_confidence": (DOUBLE, at("detection", "confidence")),
    **{name: (BIGINT, corner(i)) for i, name in enumerate(["box_x1", "box_y1", "box_x2", "box_y2"])},
    "grass_percent": (DOUBLE, at("surface", "grass", "percent")),
    "grass_level": (VARCHAR, at("surface", "grass", "level")),
    "crack_density_percent": (DOUBLE, at("surface", "cracks", "density_percent")),
    "crack_count": (BIGINT, at("surface", "cracks", "count")),
    "crack_severity": (VARCHAR, at("surface", "cracks", "severity")),
    "moisture_score": (DOUBLE, at("surface", "moisture", "score")),
    "moisture_level": (VARCHAR, at("surface", "moisture", "level")),
    "laplacian_variance": (DOUBLE, at("surface", "texture", "laplacian_variance")),
    "texture": (VARCHAR, at("surface", "texture", "type")),
    "brightness": (DOUBLE, at("surface", "brightness", "mean")),
    "brightness_level": (VARCHAR, at("surface", "brightness", "level")),
    "colour": (VARCHAR, at("surface", "colour", "type")),
    "toss": (VARCHAR, at("advice", "toss")),
    "format": (VARCHAR, at("photo", "format")),
    "width": (BIGINT, at("photo", "width")),
    "height": (BIGINT, at("photo", "height")),
    "bytes": (BIGINT, at("photo", "bytes")),
    "sha256": (VARCHAR, at("photo", "sha256")),
    "device": (VARCHAR, at("worker", "device")),
    "precision": (VARCHAR, at("worker", "precision")),
    "total_ms": (DOUBLE, timing("total")),
    **{f"model_{name}": (DOUBLE, at(*model, "probabilities", name)) for name in CLASSES},
    "orientation": (BIGINT, at("photo", "orientation")),
    "boxes": (BIGINT, applied(len, at("detection", "boxes"))),
    "crop_width": (BIGINT, at("detection", "crop", "width")),
    "crop_height": (BIGINT, at("detection", "crop", "height")),
    "analysed_width": (BIGINT, at("detection", "analysed", "width")),
    "analysed_height": (BIGINT, at("detection", "analysed", "height")),
    "moisture_dark_percent": (DOUBLE, at("surface", "moisture", "dark_percent")),
    "moisture_mean_saturation": (DOUBLE, at("surface", "moisture", "mean_saturation")),
    **{f"colour_mean_{c}": (DOUBLE, at("surface", "colour", "mean_rgb", i)) for i, c in enumerate("rgb")},
    **{f"colour_dominant_{c}": (BIGINT, at("surface", "colour", "dominant_rgb", i)) for i, c in enumerate("rgb")},
    "texture_std_dev": (DOUBLE, at("surface", "texture", "std_dev")),
    **{f"advice_{part}": (LIST, at("advice", part)) for part in ["batting", "bowling", "team", "key_factors"]},
    **{
        f"{stage}_ms": (DOUBLE, timing(stage))
        for stage in ["queued", "fetch", "decode", "detect", "surface", "classify", "overlays", "store"]
    },
    "batch": (VARCHAR, at("batch")),
    "worker": (VARCHAR, at("worker", "id")),
    "execution_provider": (VARCHAR, at("worker", "execution_provider")),
    "bundle_digest": (VARCHAR, at("digest", "bundle")),
    "options_digest": (VARCHAR, at("digest", "options")),
    "algorithm": (BIGINT, at("digest", "algorithm")),
}


def main(parquet, ndjson, summary):
    table = duckdb.read_parquet(parquet)
    types = dict(zip(table.columns, map(str, table.types)))
    assert types == {name: kind for name, (kind, _) in EXPECTED.items()}, types
    assert list(types) == list(EXPECTED), list(types)
    header = next(csv.reader(open(summary, encoding="utf-8")))
    assert table.columns[: len(header)] == header, header

    rows = table.fetchall()
    results = [json.loads(line) for line in open(ndjson, encoding="utf-8")]
    assert len(rows) == len(results), (len(rows), len(results))
    seen = set()
    for row, result in zip(rows, results):
        for (name, (_, read)), value in zip(EXPECTED.items(), row):
            expected = read(result)
            assert value == expected and type(value) is type(expected), (result["index"], name, value, expected)
            if value is not None:
                seen.add(name)
    assert seen == set(EXPECTED), set(EXPECTED) - seen

    # What an analyst asks for.
    by_group = duckdb.sql(
        f"select \"group\", max(taken_at) - min(taken_at), avg(crack_density_percent), count(*) filter (list_contains"
        f"(rules, 'cracking')) from '{parquet}' where outcome = 'ok' group by all order by all"
    ).fetchall()
    assert by_group[0][1] > datetime.timedelta(0) and by_group[0][3] > 0, by_group

    groups, codec = duckdb.sql(
        f"select count(distinct row_group_id), any_value(compression) from parquet_metadata('{parquet}')"
    ).fetchall()[0]
    print(len(rows), groups, codec)


main(*sys.argv[1:])
