"""The chart as helm renders it, against golden renders, schemas, and what operators are promised."""

import json
import re
import unittest

import jsonschema
import kubernetes_validate
import yaml
from chart import CHART, HERE, ROOT, VALUES, golden, helm, merged, objects, parse, pods, template, values

CRDS = {path.stem: json.loads(path.read_text()) for path in (HERE / "crds").glob("*.json")}
REFUSED = yaml.safe_load((HERE / "refused.yaml").read_text())
# The oldest Kubernetes of Chart.yaml, and the newest that there are schemas for.
VERSIONS = ("1.30", "1.37")


class Renders(unittest.TestCase):
    """One test of each kind for each file of values; `load_tests` deals them out."""

    def __init__(self, check: str, name: str):
        super().__init__(check)
        self.name = name

    def __str__(self) -> str:
        return f"{self._testMethodName} ({self.name})"

    def lint(self):
        linted = helm("lint", "--strict", str(CHART), "--values", f"{HERE}/values/{self.name}.yaml")
        self.assertEqual(linted.returncode, 0, linted.stdout + linted.stderr)

    def golden(self):
        kept = HERE / "golden" / f"{self.name}.yaml"
        self.maxDiff = None
        self.assertEqual(golden(self.name), kept.read_text(), "helm/tests/run.sh --accept takes the new render")

    def schemas(self):
        for item in objects(self.name):
            place = f"{item['kind']} {item['metadata']['name']}"
            if item["kind"].lower() in CRDS:
                jsonschema.validate(item, CRDS[item["kind"].lower()], cls=jsonschema.Draft202012Validator)
                continue
            for version in VERSIONS:
                with self.subTest(place, version=version):
                    kubernetes_validate.validate(item, version, strict=True)

    def names(self):
        """Every object once, with a name that Kubernetes takes."""
        seen = [(item["kind"], item["metadata"]["name"]) for item in objects(self.name)]
        self.assertEqual(len(seen), len(set(seen)))
        for _, name in seen:
            self.assertRegex(name, r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")

    def rights(self):
        """No pod may do more than its work needs."""
        for name, pod in pods(self.name).items():
            with self.subTest(name):
                self.assertIs(pod["automountServiceAccountToken"], False)
                self.assertIs(pod["securityContext"]["runAsNonRoot"], True)
                self.assertGreater(pod["securityContext"]["runAsUser"], 0)
                self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                for container in pod["containers"]:
                    context = container["securityContext"]
                    self.assertIs(context["allowPrivilegeEscalation"], False)
                    self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                    # The trial's broker writes its cookie and plugins' data where it was installed.
                    self.assertIs(context["readOnlyRootFilesystem"], container["name"] != "rabbitmq")
                    self.assertIn("memory", container["resources"]["limits"])

    def timers(self):
        """Pods get the time that the program takes to go, and stay longer than their models."""
        for pool in (item for item in objects(self.name, "Deployment")):
            pod = pool["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            variables = {entry["name"]: entry.get("value") for entry in container["env"]}
            role = container["name"].upper()
            drain = int(variables[f"PITCHFLEET_{role}_DRAIN_TIME"].removesuffix("s"))
            sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], drain + sleep + 10)
            for scaled in objects(self.name, "ScaledObject"):
                if scaled["spec"]["scaleTargetRef"]["name"] != pool["metadata"]["name"]:
                    continue
                self.assertNotIn("replicas", pool["spec"], "KEDA's to choose")
                if scaled["spec"]["minReplicaCount"] == 0:
                    grace = int(variables["PITCHFLEET_WORKER_UNLOAD_GRACE"].removesuffix("s"))
                    self.assertGreater(scaled["spec"]["cooldownPeriod"], grace + scaled["spec"]["pollingInterval"])

    def backlog(self):
        """Photos in hand count as backlog: over http, with nothing left out."""
        for scaled in objects(self.name, "ScaledObject"):
            queues = []
            for trigger in scaled["spec"]["triggers"]:
                if trigger["type"] == "cron":
                    continue
                self.assertEqual(trigger["metadata"]["protocol"], "http")
                self.assertEqual(trigger["metadata"]["excludeUnacknowledged"], "false")
                self.assertRegex(trigger["metadata"]["host"], r"^https?://[^@/]+/$")
                queues.append(trigger["metadata"]["queueName"])
            prefix = values(self.name).get("broker", {}).get("prefix", "pitchfleet")
            self.assertEqual(queues, [f"{prefix}.jobs", f"{prefix}.jobs.express"])

    def secrets(self):
        """What is secret stands in Secrets only."""
        secret = [value for item in objects(self.name, "Secret") for value in item["stringData"].values()]
        rest = yaml.safe_dump_all(item for item in objects(self.name) if item["kind"] != "Secret")
        for value in secret:
            if len(value) > 11:
                self.assertNotIn(value, rest)

    def selectors(self):
        """Whatever selects pods finds some of ours, with the port that it names."""
        templates = [item["spec"]["template"] for item in objects(self.name) if "template" in item.get("spec", {})]

        def chosen(labels):
            return [pod for pod in templates if labels.items() <= pod["metadata"]["labels"].items()]

        for item in objects(self.name):
            spec, place = item.get("spec", {}), f"{item['kind']} {item['metadata']['name']}"
            if item["kind"] == "Service":
                (pod,) = chosen(spec["selector"])
                ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
                self.assertLessEqual({port["targetPort"] for port in spec["ports"]}, ports, place)
            elif item["kind"] in ("PodDisruptionBudget", "PodMonitor"):
                self.assertTrue(chosen(spec["selector"]["matchLabels"]), place)
            elif item["kind"] == "NetworkPolicy":
                self.assertTrue(chosen(spec["podSelector"]["matchLabels"]), place)
            elif item["kind"] == "ServiceMonitor":
                services = [service["metadata"]["labels"] for service in objects(self.name, "Service")]
                found = [labels for labels in services if spec["selector"]["matchLabels"].items() <= labels.items()]
                self.assertEqual(len(found), 1, place)

    def notes(self):
        """What an operator reads at the end is rendered too, and says how to go on."""
        file = f"{HERE}/values/{self.name}.yaml"
        shown = helm("install", "day-1", str(CHART), "--namespace", "cricket", "--dry-run=client", "--values", file)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        notes = shown.stdout.rsplit("\nNOTES:\n", 1)[1]
        self.assertIn("Pools of workers:", notes)
        self.assertEqual("helm test day-1 -n cricket" in notes, bool(objects(self.name, "Pod")))
        self.assertNotIn("<no value>", shown.stdout)


class Refuses(unittest.TestCase):
    """One test for each entry of refused.yaml."""

    def __init__(self, case: dict):
        super().__init__("refuse")
        self.case = case

    def __str__(self) -> str:
        return f"refuse ({self.case['name']})"

    def refuse(self):
        base = self.case.get("base", "minimal")
        rendered = template(merged(values(base) if base else {}, self.case["values"]))
        self.assertNotEqual(rendered.returncode, 0, "it was rendered")
        self.assertIn(self.case["says"], " ".join(rendered.stderr.split()))


class Chart(unittest.TestCase):
    def test_there_are_enough_files_of_values(self):
        self.assertGreaterEqual(len(VALUES), 8)
        self.assertEqual({path.stem for path in (HERE / "golden").glob("*.yaml")}, set(VALUES))

    def test_the_chart_is_for_this_version_of_the_program(self):
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
        self.assertEqual(chart["appVersion"], version)

    def test_the_images_are_those_of_the_dockerfile(self):
        dockerfile = (ROOT / "deploy/Dockerfile").read_text()
        defaults = yaml.safe_load((CHART / "values.yaml").read_text())
        roles = [defaults["api"], defaults["workerDefaults"], defaults["workers"]["gpu"]]
        stages = [role["image"]["repository"].removeprefix("pitchfleet-") for role in roles]
        for stage in stages:
            self.assertRegex(dockerfile, rf"(?m)^FROM \S+ AS {stage}$")
        users = set(re.findall(r"(?m)^USER (\d+):(\d+)$", dockerfile))
        context = defaults["podSecurityContext"]
        self.assertEqual(users, {(str(context["runAsUser"]), str(context["runAsGroup"]))})
        folder, name = defaults["tests"]["photos"].rsplit("/", 1)
        self.assertRegex(dockerfile, rf"(?m)^COPY --from=models \S+ {folder}/$")
        self.assertRegex(dockerfile, rf"(?m)^COPY {name} ")

    def test_the_bucket_of_a_trial_is_that_of_compose(self):
        config = next(i for i in objects("trial", "ConfigMap") if i["metadata"]["name"].endswith("-garage"))
        ours, theirs = (
            [line for line in text.splitlines() if line and not line.startswith("#")]
            for text in (config["data"]["garage.toml"], (ROOT / "deploy/garage.toml").read_text())
        )
        self.assertEqual(ours, theirs)

    def test_secrets_of_a_trial_are_made_anew(self):
        renders = [template({"trial": {"enabled": True}}) for _ in range(2)]
        first, second = ({**item["stringData"]} for item in map(self.broker, renders))
        self.assertEqual(first["username"], second["username"])
        self.assertNotEqual(first["password"], second["password"])
        self.assertGreaterEqual(len(first["password"]), 32)

    @staticmethod
    def broker(rendered):
        named = (item for item in parse(rendered.stdout) if item["metadata"]["name"].endswith("-broker"))
        return next(item for item in named if item["kind"] == "Secret")

    def test_every_character_of_a_password_survives(self):
        given = values("own-secrets")["broker"]["password"]
        (secret,) = (item for item in objects("own-secrets", "Secret") if item["metadata"]["name"].endswith("-broker"))
        self.assertEqual(secret["stringData"]["password"], given)

    def test_a_card_is_a_limit(self):
        (pool,) = (pod for name, pod in pods("aws-gpu").items() if name.endswith("worker-gpu"))
        self.assertEqual(pool["containers"][0]["resources"]["limits"]["nvidia.com/gpu"], 1)

    def test_false_and_nothing_override_a_default(self):
        pool = next(pod for name, pod in pods("fixed-size").items() if name.endswith("worker-cpu"))
        (container,) = pool["containers"]
        self.assertIn({"name": "PITCHFLEET_WORKER_PRELOAD", "value": "true"}, container["env"])
        rendered = template(
            merged(
                values("minimal"),
                {
                    "workerDefaults": {"preload": True, "gpus": 1, "device": "auto"},
                    "workers": {"cpu": {"preload": False, "gpus": 0, "podDisruptionBudget": {"enabled": False}}},
                },
            )
        )
        self.assertEqual(rendered.returncode, 0, rendered.stderr)
        found = parse(rendered.stdout)
        deployments = (item for item in found if item["kind"] == "Deployment")
        pool = next(item for item in deployments if item["metadata"]["name"].endswith("worker-cpu"))
        (container,) = pool["spec"]["template"]["spec"]["containers"]
        self.assertIn({"name": "PITCHFLEET_WORKER_PRELOAD", "value": "false"}, container["env"])
        self.assertNotIn("nvidia.com/gpu", container["resources"]["limits"])
        budgets = [item["metadata"]["name"] for item in found if item["kind"] == "PodDisruptionBudget"]
        self.assertEqual(len(budgets), 1, budgets)

    def test_workers_reach_broker_bucket_names_and_collector_only(self):
        for name in ("locked-down", "trial"):
            policy = next(i for i in objects(name, "NetworkPolicy") if i["metadata"]["name"].endswith("-worker"))
            ports = [rule["ports"] for rule in policy["spec"]["egress"]]
            numbers = [[port["port"] for port in rule] for rule in ports]
            expected = [[5671], [443], [53, 53], [4318]] if name == "locked-down" else [[5672], [3900], [53, 53]]
            self.assertEqual(numbers, expected)
            for rule in policy["spec"]["egress"]:
                self.assertTrue(rule["to"], "an empty list would be everybody")

    def test_the_readme_names_every_value(self):
        readme = (CHART / "README.md").read_text()
        defaults = yaml.safe_load((CHART / "values.yaml").read_text())

        def leaves(tree, path=""):
            for key, value in tree.items():
                here = f"{path}{key}"
                named = f"`{here}`" in readme
                if isinstance(value, dict) and value and not named:
                    yield from leaves(value, f"{here}.")
                elif not named:
                    yield here

        del defaults["workers"]
        self.assertEqual(list(leaves(defaults)), [])

    def test_the_schema_knows_every_value(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        closed = jsonschema.Draft7Validator(schema)
        self.assertEqual(list(closed.iter_errors(yaml.safe_load((CHART / "values.yaml").read_text()))), [])

    def test_rules_and_dashboards_are_copies(self):
        """`helm/sync.sh` makes them equal; helm reads nothing outside of the chart."""
        originals = [ROOT / "deploy/prometheus/rules.yml", *(ROOT / "deploy/grafana/dashboards").glob("*.json")]
        copies = [CHART / "files/rules.yml", *(CHART / "files/dashboards").glob("*.json")]
        read = [{path.name: path.read_bytes() for path in paths if path.exists()} for paths in (originals, copies)]
        self.assertTrue(read[0] == read[1], f"run helm/sync.sh: {sorted(read[0])} and {sorted(read[1])} differ")

    def test_rules_and_dashboards_come_out_as_they_went_in(self):
        rules = CHART / "files/rules.yml"
        if rules.exists():
            (made,) = objects("aws-gpu", "PrometheusRule")
            self.assertEqual(made["spec"], yaml.safe_load(rules.read_text()))
        shown = {}
        for item in objects("aws-gpu", "ConfigMap"):
            if "grafana_dashboard" in item["metadata"]["labels"]:
                shown |= {name: json.loads(content) for name, content in item["data"].items()}
        there = {path.name: json.loads(path.read_text()) for path in (CHART / "files/dashboards").glob("*.json")}
        self.assertEqual(shown, there)


def load_tests(loader, tests, pattern):
    checks = [name for name in vars(Renders) if re.match(r"[a-z]", name)]
    tests.addTests(Renders(check, name) for name in VALUES for check in checks)
    tests.addTests(Refuses(case) for case in REFUSED)
    return tests
