"""docker-compose.yml: its schema, its secrets, its fences, and that everything it names is there."""

import json
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import jsonschema
import yaml

from stack import HERE, ROOT, environment, filled, raw, secrets, services, stages, words

PROGRAM = os.environ.get("PITCHFLEET_TEST_PROGRAM")
OWN = ("api", "worker", "worker-gpu", "submit")
SECRET = re.compile(r"PASSWORD|KEY|SECRET|TOKEN")


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


class Schema(unittest.TestCase):
    def check(self, document: dict) -> None:
        schema = json.loads((HERE / "compose-spec/compose-spec.json").read_text())
        jsonschema.Draft7Validator(schema).validate(document)

    def test_the_file_is_valid_before_and_after_variables_are_put_in(self):
        self.check(raw())
        self.check(filled(secrets()[0]))

    def test_the_schema_knows_a_wrong_key(self):
        wrong = filled(secrets()[0])
        wrong["services"]["api"]["helthcheck"] = {}
        with self.assertRaises(jsonschema.ValidationError):
            self.check(wrong)


class Variables(unittest.TestCase):
    def test_every_secret_must_be_given(self):
        given, _ = secrets()
        filled(given)
        for name in given:
            for without in ({**given, name: ""}, {key: given[key] for key in given if key != name}):
                with self.subTest(name), self.assertRaisesRegex(ValueError, f"{name}.*secrets.sh"):
                    filled(without)

    def test_no_secret_has_a_default(self):
        text = (ROOT / "docker-compose.yml").read_text()
        for name, default in re.findall(r"\$\{(\w+):-([^}]*)\}", text):
            self.assertIsNone(SECRET.search(name), f"{name} has the default {default}")
        example = (ROOT / ".env.example").read_text()
        for name, value in re.findall(r"^(\w+)=(.*)$", example, re.M):
            self.assertEqual(value, "", name)

    def test_secrets_differ_and_are_long(self):
        given, tokens = secrets()
        self.assertEqual(len(set(given.values())), len(given))
        for name, value in given.items():
            self.assertGreaterEqual(len(value), 24, name)
            self.assertNotIn(value, tokens)

    def test_the_example_has_every_variable_with_its_default(self):
        text = (ROOT / "docker-compose.yml").read_text()
        used = dict(re.findall(r"\$\{(\w+):[-?]([^}]*)\}", text))
        example = dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.M))
        self.assertEqual(example.keys(), used.keys())
        for name, value in example.items():
            self.assertEqual(value, "" if SECRET.search(name) else used[name], name)


class Services(unittest.TestCase):
    def test_ports_are_on_loopback(self):
        for name, service in services().items():
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), f"{name}: {port}")
        wide = filled({**secrets()[0], "PUBLISH_ADDRESS": "0.0.0.0"})["services"]
        # What has no users, or is not for users, stays where it is.
        self.assertEqual({name for name in wide if "ports" in wide[name] and "127.0.0.1:" in wide[name]["ports"][0]}, {"prometheus"})

    def test_nothing_may_more_than_it_must(self):
        for name, service in services().items():
            with self.subTest(name):
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertEqual(service["security_opt"], ["no-new-privileges:true"])
                self.assertFalse(service.keys() & {"privileged", "cap_add", "pid", "ipc", "devices"})
                if name not in ("rabbitmq", "grafana"):
                    self.assertIs(service["read_only"], True)

    def test_every_service_has_a_health_check_without_a_shell(self):
        for name, service in services().items():
            if name == "submit":
                continue
            with self.subTest(name):
                self.assertEqual(service["healthcheck"]["test"][0], "CMD")
                self.assertLessEqual(seconds(service["healthcheck"]["timeout"]), seconds(service["healthcheck"]["interval"]))

    def test_who_is_waited_for_is_there_and_checked(self):
        known = services()
        for name, service in known.items():
            for other, how in service.get("depends_on", {}).items():
                self.assertEqual(how, {"condition": "service_healthy"}, name)
                self.assertIn("healthcheck", known[other])

    def test_files_and_volumes_are_there(self):
        document = filled(secrets()[0])
        for name, service in document["services"].items():
            for volume in service.get("volumes", []):
                source, target, *mode = volume.split(":")
                with self.subTest(name, volume=volume):
                    if source.startswith("./"):
                        self.assertTrue((ROOT / source).exists())
                        self.assertEqual(mode, ["ro"])
                    else:
                        self.assertIn(source, document["volumes"])
                    self.assertTrue(target.startswith("/"))

    def test_images_are_those_of_the_dockerfile(self):
        for name, service in services().items():
            if build := service.get("build"):
                self.assertTrue((ROOT / build["dockerfile"]).is_file())
                self.assertIn(build["target"], stages())
                self.assertEqual(service["image"], f"pitchfleet-{build['target']}", name)
                # The entry point is the executable; the command is what follows it.
                self.assertEqual(words(build["target"], "ENTRYPOINT"), ['["/usr/bin/pitchfleet"]'])

    def test_images_of_others_have_a_registry_and_a_version(self):
        for name, service in services().items():
            if "build" not in service and name != "submit":
                self.assertRegex(service["image"], r"^[a-z0-9.]+\.[a-z]+/[a-z/]+:v?[0-9.]+$")

    def test_there_are_two_cpu_workers(self):
        self.assertEqual(services()["worker"]["deploy"]["replicas"], 2)

    @unittest.skipUnless(PROGRAM, "PITCHFLEET_TEST_PROGRAM names no executable")
    def test_the_program_reads_every_variable_and_has_the_time_it_wants(self):
        helped = subprocess.run([PROGRAM, "submit", "--help"], capture_output=True, text=True, check=True).stdout
        others = {word for word in helped.replace("]", " ").split() if word.startswith("PITCHFLEET_")}
        for name in OWN:
            service = services()[name]
            stage = service.get("build", {}).get("target", "worker")
            given = {**environment(stage), **service["environment"]}
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                def config(what):
                    return subprocess.run(
                        [PROGRAM, "config", what], env=given, cwd=folder, capture_output=True, text=True, check=False
                    )

                checked = config("--check")
                self.assertEqual(checked.returncode, 0, checked.stderr)
                read = set(checked.stdout.removeprefix("good:").replace(",", " ").split())
                unknown = {key for key in given if key.startswith("PITCHFLEET_")} - read - others
                self.assertEqual(unknown, {"PITCHFLEET_ONNXRUNTIME"} & given.keys(), "variables that mean nothing")
                shown = config("--show").stdout
                for secret in secrets()[0].values():
                    self.assertNotIn(secret, shown)
                if role := {"api": "api", "worker": "worker", "worker-gpu": "worker"}.get(name):
                    drain = re.search(rf"^\[{role}\].*?^drain_time = \"(\d+)s\"", shown, re.M | re.S)
                    self.assertGreaterEqual(seconds(service["stop_grace_period"]), int(drain[1]) + 10, shown)


class Watching(unittest.TestCase):
    """Prometheus and Grafana find each other, the fleet, and their files."""

    def test_prometheus_asks_those_that_are_there(self):
        config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
        known = services()
        for job in config["scrape_configs"]:
            for found in job.get("dns_sd_configs", []):
                for name in found["names"]:
                    with self.subTest(name):
                        listens = [v for k, v in known[name]["environment"].items() if k.endswith("METRICS_LISTEN")]
                        self.assertEqual(listens, [f"0.0.0.0:{found['port']}"])
        mounted = {Path(volume.split(":")[1]) for volume in known["prometheus"]["volumes"]}
        for rules in config["rule_files"]:
            self.assertIn(Path("/etc/prometheus") / rules, mounted)

    def test_grafana_finds_dashboards_and_prometheus(self):
        mounts = dict(volume.split(":")[:2] for volume in services()["grafana"]["volumes"])
        provisioning = ROOT / "deploy/grafana/provisioning"
        self.assertEqual(mounts["./deploy/grafana/provisioning"], "/etc/grafana/provisioning")
        (provider,) = yaml.safe_load((provisioning / "dashboards/pitchfleet.yml").read_text())["providers"]
        self.assertEqual(provider["options"]["path"], mounts["./deploy/grafana/dashboards"])
        (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
        self.assertEqual(source["url"], "http://prometheus:9090")
        for path in (ROOT / "deploy/grafana/dashboards").glob("*.json"):
            uids = set(re.findall(r'"type": "prometheus",\s*"uid": "([^"]*)"|"uid": "([^"]*)",\s*"type": "prometheus"', path.read_text()))
            self.assertLessEqual({a or b for a, b in uids}, {source["uid"], "${datasource}"}, path.name)
