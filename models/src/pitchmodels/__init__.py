"""Export, train, quantise and check the models that pitchfleet runs."""

import os

# Ultralytics would otherwise install packages by itself when an export wants one.
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
# The official builds of ONNX Runtime would otherwise keep, and send, a record of the models that run.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

CLASS_NAMES = ("batting_friendly", "bowling_friendly", "seam_friendly", "spin_friendly")
"""The classifier's classes, in the order of its outputs."""

PITCH_CLASSES = ("pitch",)
"""The detector's classes."""
