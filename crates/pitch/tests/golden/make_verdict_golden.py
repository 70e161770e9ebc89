"""Reference numbers for the set verdict, from numpy and scipy: python make_verdict_golden.py > verdict/statistics.json

Needs numpy 2 and scipy 1.17 (any version with scipy.stats.theilslopes). Values are hundredths, as the verdict keeps them.
"""

import json

import numpy as np
from scipy import stats

rng = np.random.default_rng(20260614)


def spread(values):
    q = np.quantile(np.array(values) / 100, [0, 0.25, 0.5, 0.75, 1])
    return dict(zip(["min", "q1", "median", "q3", "max"], map(float, q)))


def modified_z(values):
    x = np.array(values) / 100
    median = np.median(x)
    mad = stats.median_abs_deviation(x)
    if mad > 0:
        scale = mad / 0.6745
    else:
        scale = 1.253314 * np.mean(np.abs(x - median))
    return [float(z) for z in (x - median) / scale]


samples = [
    [0],
    [100, 200],
    [1234, 1234, 1300, 1180, 1250, 9000],
    [0, 0, 0, 0, 0, 0, 500, 0, 0, 12],
    [int(v) for v in rng.integers(0, 10_000, 31)],
    [int(v) for v in rng.gamma(2.0, 150.0, 200)],
]
series = []
for count, step, slope, noise in [(3, 1.0, 2.0, 0.0), (12, 0.25, -1.5, 0.4), (60, 0.1, 0.3, 2.0), (40, 0.0, 0.0, 1.0)]:
    hours = np.round(np.cumsum(rng.integers(0, 3, count)) * (step or 0.5) * 3600) / 3600
    values = np.round(20 + slope * hours + noise * rng.standard_normal(count), 2)
    fit = stats.theilslopes(values, hours, 0.95)
    series.append({
        "hours": hours.tolist(), "values": values.tolist(),
        "slope": float(fit.slope), "low": float(fit.low_slope), "high": float(fit.high_slope),
    })
counts = [[4, 0, 0, 0], [3, 3, 3, 3], [5, 2, 1, 0], [0, 0, 1, 1]]

print(json.dumps({
    "numpy": np.__version__,
    "samples": [
        {"hundredths": s, "spread": spread(s), "modified_z": modified_z(s) if len(set(s)) > 1 else None} for s in samples
    ],
    "series": series,
    "variation": [
        {"counts": c, "index": float(4 / 3 * (1 - np.sum((np.array(c) / sum(c)) ** 2)))} for c in counts
    ],
}, indent=1))
