"""deploy/Dockerfile: hadolint, and what it promises about users, shells and pins."""

import json
import os
import re
import subprocess
import unittest

from stack import DEPLOY, ROOT, arguments, environment, stages, words

FINAL = ("api", "worker", "worker-cuda")
HADOLINT = f"{os.environ['PYTHONPATH'].split(':')[0]}/bin/hadolint"


class Dockerfile(unittest.TestCase):
    def test_hadolint_has_nothing_to_say(self):
        said = subprocess.run([HADOLINT, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
        self.assertEqual((said.returncode, said.stdout), (0, ""), said.stderr)

    def test_every_base_is_a_stage_or_an_argument(self):
        given = arguments()
        for name, stage in stages().items():
            base = dict(stage)["FROM"]
            argument = re.fullmatch(r"\$\{(\w+)\}", base)
            with self.subTest(name, base=base):
                if argument:
                    self.assertRegex(given[argument[1]], r"^[a-z0-9.]+\.[a-z]+/[a-z0-9/-]+:[\w.-]+$")
                else:
                    self.assertIn(base, stages())

    def test_images_run_as_nobody_in_particular_and_need_no_shell(self):
        for name in FINAL:
            with self.subTest(name):
                # A number, so that Kubernetes can tell that it is not root; the chart's.
                self.assertEqual(words(name, "USER"), ["10001:10001"])
                self.assertEqual(words(name, "RUN"), [])
                self.assertEqual(json.loads(words(name, "ENTRYPOINT")[0]), ["/usr/bin/pitchfleet"])
                self.assertIsInstance(json.loads(words(name, "CMD")[0]), list)

    def test_the_api_carries_no_runtime_and_no_models(self):
        sources = " ".join(words("api", "COPY"))
        self.assertNotIn("onnxruntime", sources)
        self.assertNotIn("models", sources)
        self.assertEqual(environment("api"), {})

    def test_what_is_copied_is_there_and_not_ignored(self):
        kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
        copied = set()
        for stage in stages():
            for rest in words(stage, "COPY"):
                if not rest.startswith("--from"):
                    copied |= set(rest.split()[:-1])
        self.assertEqual(copied, kept)
        for source in copied:
            self.assertTrue((ROOT / source).exists(), source)

    def test_the_library_is_where_the_variable_says(self):
        for name, stage in (("worker", "onnxruntime"), ("worker-cuda", "onnxruntime-cuda")):
            self.assertEqual(environment(name)["PITCHFLEET_ONNXRUNTIME"], "/usr/lib/pitchfleet/libonnxruntime.so")
            self.assertIn(f"--from={stage} /out/ /usr/lib/pitchfleet/", words(name, "COPY"))
            self.assertIn("/out/libonnxruntime.so", " ".join(words(stage, "RUN")))

    def test_the_compiler_is_the_one_that_the_workspace_asks_for(self):
        wanted = re.search(r'^rust-version = "([\d.]+)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
        self.assertIn(f"/rust:{wanted}-", arguments()["RUST_IMAGE"])
