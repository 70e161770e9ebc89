"""The `pitchmodels` command."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .bundle import Bundle, pitch_classifier_entry, pitch_detector_entry

DETECTOR_TOLERANCE = 0.5
"""Pixels by which raw boxes may differ on noise once weights are stored as fp16."""

CLASSIFIER_TOLERANCE = 0.005


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run one command."""
    options = _parser().parse_args(arguments)
    return options.run(options) or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pitchmodels", description="Export, train, quantise and check models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    export = command(
        "export", _export, "Export a detector (.pt) and a classifier (.pth) into a bundle, and check both."
    )
    export.add_argument("--detector", type=Path, required=True, help="YOLOv8 weights, as ultralytics saves them")
    export.add_argument("--classifier", type=Path, required=True, help="state dict of MobileNetV2 or ResNet18")
    export.add_argument("--bundle", type=Path, required=True, help="folder to write")
    export.add_argument("--name", default="custom", help="the bundle's name (default: %(default)s)")
    export.add_argument("--version", default="1", help="the bundle's version (default: %(default)s)")
    export.add_argument("--confidence", type=float, default=0.5, help="detection threshold (default: %(default)s)")
    export.add_argument("--iou", type=float, default=0.7, help="suppression threshold (default: %(default)s)")
    export.add_argument("--side", type=int, help="the detector's input size (default: the one it was trained at)")
    export.add_argument("--full-storage", action="store_true", help="store weights as fp32 instead of fp16")
    export.add_argument(
        "--classifier-licence", default="Apache-2.0", help="recorded in the bundle (default: %(default)s)"
    )

    verify = command("verify", _verify, "Compare a bundle's float models with the PyTorch weights they came from.")
    verify.add_argument("--bundle", type=Path, required=True)
    verify.add_argument("--detector", type=Path)
    verify.add_argument("--classifier", type=Path)

    quantise = command("quantise", _quantise, "Add int8 models to a bundle and report what they cost.")
    quantise.add_argument("--bundle", type=Path, required=True)
    quantise.add_argument("--calibration", type=Path, required=True, help="folder of photos, searched recursively")
    quantise.add_argument("--crops", type=Path, required=True, help="folder of crops, searched recursively")
    quantise.add_argument("--held-back", type=Path, help="photos to measure the cost on")
    quantise.add_argument("--held-back-crops", type=Path, help="crops to measure the cost on")
    quantise.add_argument("--photos", type=int, default=60, help="photos to calibrate with (default: %(default)s)")

    halve = command("halve", _halve, "Add fp16 models to a bundle, for cards, and compare them with the fp32 ones.")
    halve.add_argument("--bundle", type=Path, required=True)

    render = command("render", _render, "Render a training set of photographs, or of crops for the classifier.")
    render.add_argument("--output", type=Path, required=True)
    render.add_argument("--photos", type=int, default=1000, help="photographs, or crops per class")
    render.add_argument("--seed", type=int, default=1)
    render.add_argument("--side", type=int, default=512, help="longer side in pixels (default: %(default)s)")
    render.add_argument(
        "--smallest-share", type=float, default=0.05, help="share of the frame a strip's box covers at least"
    )
    render.add_argument("--crops", action="store_true", help="render crops per class instead of photographs")
    render.add_argument("--trees", type=Path, help="folder of tree cut-outs (PNG with alpha) to plant")
    render.add_argument("--pictures", type=Path, help="folder of pictures without a pitch, used as counter-examples")
    render.add_argument("--processes", type=int)

    detector = command("train-detector", _train_detector, "Train YOLOv8n on a rendered set.")
    detector.add_argument("--data", type=Path, required=True)
    detector.add_argument("--output", type=Path, required=True)
    detector.add_argument("--minutes", type=float, default=75)
    detector.add_argument("--start-from", type=Path, help="weights to continue with")
    detector.add_argument("--learning-rate", type=float, default=2.5e-3)
    detector.add_argument(
        "--threads", type=int, default=1, help="more only pay on an idle machine (default: %(default)s)"
    )
    detector.add_argument("--side", type=int, help="train at this size alone instead of at growing sizes")

    average = command("average-detectors", _average, "Average the weights of several checkpoints of one training.")
    average.add_argument("weights", type=Path, nargs="+")
    average.add_argument("--output", type=Path, required=True)

    classifier = command("train-classifier", _train_classifier, "Train a surface classifier on crops.")
    classifier.add_argument("--data", type=Path, required=True)
    classifier.add_argument("--output", type=Path, required=True)
    classifier.add_argument("--minutes", type=float, default=5)
    classifier.add_argument("--architecture", choices=("mobilenet_v2", "resnet18"), default="mobilenet_v2")

    evaluate = command("evaluate", _evaluate, "Judge a bundle on labelled photos and crops that training has not seen.")
    evaluate.add_argument("--bundle", type=Path, required=True)
    evaluate.add_argument("--photos", type=Path, help="folder with labels.json files")
    evaluate.add_argument("--crops", type=Path, help="folder with one folder of crops per class")
    evaluate.add_argument("--precision", choices=("fp32", "int8"), default="fp32")
    evaluate.add_argument("--json", action="store_true", help="print JSON")

    reference = command("reference", _reference, "Write PyTorch's answers for the engine's tests.")
    reference.add_argument("--bundle", type=Path, required=True)
    reference.add_argument("--detector", type=Path, required=True)
    reference.add_argument("--classifier", type=Path, required=True)
    reference.add_argument(
        "--photos", type=Path, required=True, help="folder of photos; reference.json is written into it"
    )
    reference.add_argument("--confidence", type=float, default=0.25)
    reference.add_argument("--render-photos", action="store_true", help="render the photos first")

    samples = command(
        "samples", _samples, "Render the repository's sample photos, those that a bundle's detector finds."
    )
    samples.add_argument("--bundle", type=Path, required=True)
    samples.add_argument("--output", type=Path, required=True)
    return parser


def _export(options: argparse.Namespace) -> int:
    from . import export

    folder = options.bundle
    folder.mkdir(parents=True, exist_ok=True)
    half = not options.full_storage
    detector = pitch_detector_entry(options.confidence, options.iou)
    detector.files = {"fp32": "detector.fp32.onnx"}
    detector.architecture, detector.classes = export.export_detector(
        options.detector, folder / detector.files["fp32"], side=options.side, half_storage=half
    )
    architecture = export.export_classifier(options.classifier, folder / "classifier.fp32.onnx", half_storage=half)
    classifier = pitch_classifier_entry(architecture, options.classifier_licence)
    classifier.files = {"fp32": "classifier.fp32.onnx"}
    bundle = Bundle(folder, detector, classifier, options.name, options.version)
    print(f"wrote {bundle.write()}")
    return _compare(bundle, options.detector, options.classifier)


def _verify(options: argparse.Namespace) -> int:
    return _compare(Bundle.read(options.bundle), options.detector, options.classifier)


def _compare(bundle: Bundle, detector: Path | None, classifier: Path | None) -> int:
    from . import export

    failed = False
    if detector:
        error = export.detector_error(detector, bundle.path("detector"))
        failed |= error > DETECTOR_TOLERANCE
        print(f"detector: raw output differs from PyTorch by at most {error:.4f}")
    if classifier:
        error = export.classifier_error(classifier, bundle.path("classifier"))
        failed |= error > CLASSIFIER_TOLERANCE
        print(f"classifier: probabilities differ from PyTorch by at most {error:.5f}")
    if failed:
        print("the export does not agree with PyTorch", file=sys.stderr)
    return int(failed)


def _images(folder: Path) -> list[Path]:
    """Photos below a folder in an order that mixes its subfolders, the same every time."""
    found = [p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    return sorted(found, key=lambda path: (path.name, str(path)))


def _quantise(options: argparse.Namespace) -> int:
    from . import quantise
    from .export import session
    from .pipeline import Detector

    bundle = Bundle.read(options.bundle)
    for entry, name in ((bundle.detector, "detector"), (bundle.classifier, "classifier")):
        entry.files["int8"] = f"{name}.int8.onnx"
    quantise.quantise_detector(
        bundle.path("detector"), bundle.path("detector", "int8"), _images(options.calibration)[: options.photos]
    )
    quantise.quantise_classifier(
        bundle.path("classifier"), bundle.path("classifier", "int8"), _images(options.crops)[: options.photos]
    )
    print(f"wrote {bundle.write()}")
    if options.held_back:
        pair = [Detector(session(bundle.path("detector", p))) for p in ("fp32", "int8")]
        threshold = bundle.detector.thresholds["confidence_threshold"]
        print(quantise.detector_cost(*pair, _images(options.held_back), threshold))
    if options.held_back_crops:
        pair = [session(bundle.path("classifier", p)) for p in ("fp32", "int8")]
        print(quantise.classifier_cost(*pair, _images(options.held_back_crops)))
    return 0


def _halve(options: argparse.Namespace) -> int:
    from . import half
    from .pipeline import input_side
    from .quantise import metadata

    bundle = Bundle.read(options.bundle)
    side = input_side(metadata(bundle.path("detector")))
    failed = False
    for name, halve, size in (
        ("detector", half.halve_detector, side),
        ("classifier", half.halve_classifier, 224),
    ):
        getattr(bundle, name).files["fp16"] = f"{name}.fp16.onnx"
        halve(bundle.path(name), bundle.path(name, "fp16"))
        error = half.largest_difference(bundle.path(name), bundle.path(name, "fp16"), (1, 3, size, size))
        failed |= error > half.ERROR_ON_NOISE
        print(f"{name}: fp16 differs from fp32 by {error:.2%} of the largest value on noise")
    print(f"wrote {bundle.write()}")
    if failed:
        print("fp16 does not agree with fp32", file=sys.stderr)
    return int(failed)


def _render(options: argparse.Namespace) -> None:
    if options.crops:
        from .render.crops import CropSet, render_crop_set

        made = render_crop_set(CropSet(options.output, options.photos, options.seed, options.trees), options.processes)
    else:
        from .render.shards import DetectorSet, render_detector_set

        job = DetectorSet(
            options.output, options.photos, options.seed, options.side, smallest_share=options.smallest_share,
            trees=options.trees, pictures=options.pictures,
        )  # fmt: skip
        made = render_detector_set(job, options.processes)
    print(f"rendered {made} pictures into {options.output}")


def _train_detector(options: argparse.Namespace) -> None:
    from .train_detector import STAGES, DetectorTraining, train_detector

    job = DetectorTraining(
        options.data, options.output, options.minutes * 60, options.start_from, options.learning_rate,
        stages=((1.01, options.side),) if options.side else STAGES,
        threads=options.threads,
    )  # fmt: skip
    print(f"wrote {train_detector(job)}")


def _average(options: argparse.Namespace) -> None:
    from .train_detector import average_detectors

    print(f"wrote {average_detectors(options.weights, options.output)}")


def _train_classifier(options: argparse.Namespace) -> None:
    from .train_classifier import ClassifierTraining, train_classifier

    job = ClassifierTraining(options.data, options.output, options.minutes * 60, options.architecture)
    print(f"wrote {train_classifier(job)}")


def _evaluate(options: argparse.Namespace) -> None:
    from . import evaluate

    bundle = Bundle.read(options.bundle)
    report: dict = {}
    if options.photos:
        report["detector"] = evaluate.evaluate_detector(bundle, options.photos, options.precision)
    if options.crops:
        report["classifier"] = [evaluate.evaluate_classifier(bundle, options.crops, options.precision)]
    if options.json:
        plain = {name: [evaluate.as_json(figure) for figure in figures] for name, figures in report.items()}
        print(json.dumps(plain, indent=1))
        return
    for name, figures in report.items():
        print(f"{name} ({options.precision})")
        for figure in figures:
            print(f"  {figure}")


def _reference(options: argparse.Namespace) -> None:
    from .reference import write_reference

    bundle = Bundle.read(options.bundle)
    if options.render_photos:
        from .samples import write_fixture_photos

        write_fixture_photos(bundle, options.photos)
    print(f"wrote {write_reference(bundle, options.detector, options.classifier, options.photos, options.confidence)}")


def _samples(options: argparse.Namespace) -> None:
    from .samples import write_samples

    written = write_samples(Bundle.read(options.bundle), options.output)
    print(f"wrote {len(written)} photos, {sum(p.stat().st_size for p in written) / 1e6:.1f} MB, below {options.output}")
