"""What the chart starts, as processes on this machine: same arguments, same variables, same files, real servers.

Left out are the image, the container and the cluster. Needs `PITCHFLEET_TEST_PROGRAM`, an executable, and the servers
of `scripts/servers.sh`; scripts/test.sh has both.
"""

import base64
import functools
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import yaml
from chart import CHART, ROOT, VALUES, merged, objects, parse, template, values

PROGRAM = os.environ.get("PITCHFLEET_TEST_PROGRAM") and os.path.abspath(os.environ["PITCHFLEET_TEST_PROGRAM"])
# Far more than any of it takes: a slow machine is no failure.
PATIENCE = 120


@functools.cache
def named_variables() -> set[str]:
    """Variables of the commands that are no settings."""
    helped = subprocess.run([PROGRAM, "submit", "--help"], capture_output=True, text=True, check=True).stdout
    return {word for word in helped.replace("]", " ").split() if word.startswith("PITCHFLEET_")} | {"PITCHFLEET_LOG"}


class Pod:
    """One container of the chart, in a folder that stands for its file system."""

    def __init__(self, folder: Path, name: str, spec: dict, secrets: dict[str, dict], moved: dict[str, str]):
        (self.container,) = spec["containers"]
        self.spec = spec
        self.name = name
        self.folder = folder / name
        (self.folder / "tmp").mkdir(parents=True)
        self.secrets = secrets
        # What is elsewhere here.
        mounts = {mount["mountPath"]: str(self.folder / mount["name"]) for mount in self.container["volumeMounts"]}
        self.moved = {**moved, **mounts}
        self.process = None
        for volume in spec["volumes"]:
            (self.folder / volume["name"]).mkdir(exist_ok=True)
            for source in volume.get("projected", {}).get("sources", []) + ([volume] if "secret" in volume else []):
                self.write(volume["name"], source)

    def write(self, volume: str, source: dict) -> None:
        kind, content = ("secret", self.secrets) if "secret" in source else ("configMap", {})
        name = source[kind].get("name") or source[kind].get("secretName")
        for item in source[kind]["items"]:
            # Those that the chart does not make are the operator's.
            text = content.get(name, {}).get(item["key"], "[]" if item["key"].endswith(".toml") else "word")
            (self.folder / volume / item["path"]).write_text(text)

    def here(self, text: str) -> str:
        there = "|".join(re.escape(place) for place in sorted(self.moved, key=len, reverse=True))
        return re.sub(there, lambda found: self.moved[found[0]], text)

    def environment(self) -> dict[str, str]:
        found = {}
        for entry in self.container.get("env", []):
            if "value" in entry:
                found[entry["name"]] = self.here(entry["value"])
            elif reference := entry["valueFrom"].get("secretKeyRef"):
                found[entry["name"]] = self.secrets.get(reference["name"], {}).get(reference["key"], "word")
            else:
                found[entry["name"]] = self.name
        return found

    def arguments(self) -> list[str]:
        return [self.here(argument) for argument in self.container["args"]]

    def start(self, program: list[str], more: dict[str, str]) -> None:
        environment = {"PATH": os.environ["PATH"], **more, **self.environment()}
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(program, env=environment, cwd=self.folder, stdout=log, stderr=log)

    def run(self, program: list[str], more: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """As `kubectl exec` does."""
        environment = {"PATH": os.environ["PATH"], **more, **self.environment()}
        return subprocess.run(program, env=environment, cwd=self.folder, capture_output=True, text=True, check=False)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def url(self, probe: dict) -> str:
        """Of a probe, where its port leads on this machine."""
        port = next(port for port in self.container["ports"] if port["name"] == probe["port"])["containerPort"]
        return f"http://{self.here(f'0.0.0.0:{port}')}{probe['path']}"

    def stop(self) -> int:
        """As Kubernetes ends it: SIGTERM, and the grace period at most."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(self.spec["terminationGracePeriodSeconds"])

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def ask(url: str, user: str, password: str, method: str = "GET", body=None):
    """The management plugin's answer; with the request that KEDA's scaler makes."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_until(true, what: str, pod: Pod) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline or pod.process.poll() is not None:
            raise AssertionError(f"{pod.name}: waited in vain for {what}\n{pod.log()}")
        time.sleep(0.1)


def made_secrets(items: list[dict]) -> dict[str, dict]:
    return {item["metadata"]["name"]: item["stringData"] for item in items if item["kind"] == "Secret"}


@unittest.skipUnless(PROGRAM, "PITCHFLEET_TEST_PROGRAM names no executable")
class Settings(unittest.TestCase):
    def test_the_program_reads_every_variable(self):
        for name in VALUES:
            for item in objects(name, "Deployment") + objects(name, "Pod"):
                with self.subTest(name, pod=item["metadata"]["name"]), tempfile.TemporaryDirectory() as folder:
                    spec = item["spec"]["template"]["spec"] if item["kind"] == "Deployment" else item["spec"]
                    pod = Pod(Path(folder), "pod", spec, made_secrets(objects(name)), {})
                    environment = pod.environment()
                    checked = subprocess.run(
                        [PROGRAM, "config", "--check"],
                        env=environment,
                        cwd=folder,
                        capture_output=True,
                        text=True,
                        check=False,
                    )
                    self.assertEqual(checked.returncode, 0, checked.stderr)
                    read = set(checked.stdout.removeprefix("good:").replace(",", " ").split())
                    ours = {name for name in environment if name.startswith("PITCHFLEET_")}
                    unknown = ours - read - named_variables()
                    self.assertEqual(unknown, set(), "variables that mean nothing")

    def test_the_settings_that_plan_recommends_are_values_of_a_pool(self):
        command = [PROGRAM, "plan", "--photos", "1000", "--megapixels", "2"]
        planned = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        table = planned.split("recommended", 1)[1].split("└", 1)[0]
        names = re.findall(r"(?m)^│ ([A-Za-z.]+) ", table)
        self.assertIn("scaling.cooldownSeconds", names)
        for name in names:
            value = yaml.safe_load((CHART / "values.yaml").read_text())["workerDefaults"]
            for key in name.split("."):
                self.assertIn(key, value, name)
                value = value[key]


@unittest.skipUnless(PROGRAM, "PITCHFLEET_TEST_PROGRAM names no executable")
class Fleet(unittest.TestCase):
    """A whole release, from its broker's settings to `helm test`."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        over = merged(values("trial"), {"keda": {"enabled": True}, "monitoring": {"enabled": True}})
        rendered = template(over)
        self.assertEqual(rendered.returncode, 0, rendered.stderr)
        self.items = parse(rendered.stdout)
        self.secrets = made_secrets(self.items)
        self.started = []
        self.addCleanup(lambda: [pod.kill() for pod in self.started])

    def one(self, kind: str, ending: str) -> dict:
        return next(i for i in self.items if i["kind"] == kind and i["metadata"]["name"].endswith(ending))

    def pod(self, kind: str, ending: str, moved: dict[str, str]) -> Pod:
        item = self.one(kind, ending)
        spec = item["spec"] if kind == "Pod" else item["spec"]["template"]["spec"]
        pod = Pod(self.folder, item["metadata"]["name"], spec, self.secrets, moved)
        self.started.append(pod)
        return pod

    def prepare_broker(self) -> tuple[str, str]:
        """A virtual host with the chart's user on the broker of the tests; its address, and the plugin's."""
        amqp, plugin = os.environ["PITCHFLEET_TEST_AMQP"], os.environ["PITCHFLEET_TEST_AMQP_MANAGEMENT"]
        credentials, management = plugin.removeprefix("http://").rsplit("@", 1)
        admin = credentials.split(":")
        self.vhost, self.user = f"chart-{uuid.uuid4().hex[:12]}", f"chart-{uuid.uuid4().hex[:12]}"
        api = f"http://{management}/api"
        secret = self.secrets["day-1-pitchfleet-broker"]
        secret["username"] = self.user
        ask(f"{api}/vhosts/{self.vhost}", *admin, method="PUT")
        self.addCleanup(lambda: ask(f"{api}/vhosts/{self.vhost}", *admin, method="DELETE"))
        # No more than docs/kubernetes.md asks for.
        account = {"password": secret["password"], "tags": "monitoring"}
        ask(f"{api}/users/{self.user}", *admin, method="PUT", body=account)
        self.addCleanup(lambda: ask(f"{api}/users/{self.user}", *admin, method="DELETE"))
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        ask(f"{api}/permissions/{self.vhost}/{self.user}", *admin, method="PUT", body=rights)
        return amqp.rsplit("@", 1)[1].split("/")[0], management

    def start_garage(self, port: int, rpc: int) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pitchfleet/garage"
        program = max(cache.glob("*/bin/garage"))
        pod = self.pod("StatefulSet", "-garage", {})
        config = self.one("ConfigMap", "-garage")["data"]["garage.toml"]
        for there, here in (("/data", f"{pod.folder}/data"), ("0.0.0.0:3900", f"127.0.0.1:{port}"), ("3901", str(rpc))):
            config = config.replace(there, here)
        (pod.folder / "garage.toml").write_text(config)
        command = [argument.replace("/etc/garage/garage.toml", "garage.toml") for argument in pod.container["command"]]
        pod.start([str(program), *command[1:]], {})
        wait_until(lambda: status(f"http://127.0.0.1:{port}") != 0, "Garage", pod)

    def backlog(self, management: str) -> dict[str, int]:
        """What KEDA would learn: the triggers of the pool's ScaledObject, asked as its scaler asks."""
        authentication = self.one("TriggerAuthentication", "-broker")["spec"]["secretTargetRef"]
        given = {entry["parameter"]: self.secrets[entry["name"]][entry["key"]] for entry in authentication}
        found = {}
        for trigger in self.one("ScaledObject", "-cpu")["spec"]["triggers"]:
            metadata = trigger["metadata"]
            self.assertEqual(metadata["host"], "http://day-1-pitchfleet-rabbitmq:15672/")
            url = f"http://{management}/api/queues/{self.vhost}/{metadata['queueName']}"
            found[metadata["queueName"]] = ask(url, given["username"], given["password"]).get("messages")
        return found

    def test_the_pods_of_a_trial_analyse_the_sample_set(self):
        broker, management = self.prepare_broker()
        s3, rpc, http, api_metrics, worker_metrics = free_ports(5)
        self.start_garage(s3, rpc)
        # Addresses that the cluster would know, and the two folders that the image brings.
        moved = {
            "day-1-pitchfleet-rabbitmq:5672/%2F": f"{broker}/{self.vhost}",
            "day-1-pitchfleet-garage:3900": f"127.0.0.1:{s3}",
            "day-1-pitchfleet-api:80": f"127.0.0.1:{http}",
            "/usr/share/pitchfleet/samples": str(ROOT / "samples/day-1/north-end"),
            "0.0.0.0:8080": f"127.0.0.1:{http}",
        }
        image = {"PITCHFLEET_BUNDLE": str(ROOT / "bundles/demo")}
        if library := os.environ.get("PITCHFLEET_ONNXRUNTIME"):
            image["PITCHFLEET_ONNXRUNTIME"] = library
        api = self.pod("Deployment", "-api", {**moved, "0.0.0.0:9464": f"127.0.0.1:{api_metrics}"})
        worker = self.pod("Deployment", "-cpu", {**moved, "0.0.0.0:9464": f"127.0.0.1:{worker_metrics}"})
        for pod in (api, worker):
            pod.start([PROGRAM, *pod.arguments()], image)
        for pod in (api, worker):
            for probe in ("readinessProbe", "livenessProbe"):
                url = pod.url(pod.container[probe]["httpGet"])
                wait_until(lambda url=url: status(url) == 200, f"{probe} {url}", pod)

        test = self.pod("Pod", "-samples", moved)
        test.start([PROGRAM, *test.arguments()], {})
        self.assertEqual(test.process.wait(test.spec["activeDeadlineSeconds"]), 0, f"{test.log()}\n{worker.log()}")

        cooldown = self.one("ScaledObject", "-cpu")["spec"]["cooldownPeriod"]
        for pod, role in ((api, "api"), (worker, "worker")):
            grace = pod.spec["terminationGracePeriodSeconds"]
            times = ["--keda-cooldown", f"{cooldown}s", "--stop-timeout", f"{grace}s"]
            findings = pod.run([PROGRAM, "doctor", "--role", role, *times], image)
            self.assertEqual(findings.returncode, 0, findings.stdout + findings.stderr)
            self.assertIn("they nest", findings.stdout)

        # The plugin counts some seconds late.
        wait_until(lambda: set(self.backlog(management).values()) == {0}, "an empty backlog", worker)
        for pod in (api, worker):
            with urllib.request.urlopen(pod.url({"port": "metrics", "path": "/metrics"}), timeout=30) as page:
                self.assertIn(b"pitchfleet_", page.read())
        for pod in (worker, api):
            self.assertEqual(pod.stop(), 0, pod.log())
