"""What docker-compose.yml starts, as processes on this machine: same commands, variables, files and health checks.

Left out are the container, the images of others (Debian's RabbitMQ and Prometheus and a Garage of the same version stand
in) and Grafana, which no registry of packages has. Needs `PITCHFLEET_TEST_PROGRAM`, an executable.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

from stack import ROOT, environment, secrets, services, words

PROGRAM = os.environ.get("PITCHFLEET_TEST_PROGRAM")
# Far more than any of it takes: a slow machine is no failure.
PATIENCE = 180
RABBITMQ = Path("/usr/lib/rabbitmq/bin")
SAMPLES = 16


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_until(true, what) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain: {what()}")
        time.sleep(0.2)


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


class Container:
    """One service, in a folder that stands for its file system."""

    def __init__(self, folder: Path, name: str, moved: dict[str, str], instance: str = ""):
        self.service = services()[name]
        self.name = name
        self.folder = folder / f"{name}{instance}"
        self.process = None
        mounts = {"/tmp": str(self.folder / "tmp"), "/run/secrets": str(folder / "secrets")}
        for volume in self.service.get("volumes", []):
            source, target = volume.split(":")[:2]
            mounts[target] = str(ROOT / source) if source.startswith("./") else str(folder / "volumes" / source)
        for place in mounts.values():
            if not Path(place).is_file():
                Path(place).mkdir(parents=True, exist_ok=True)
        self.moved = {**mounts, **moved}

    def here(self, text: str) -> str:
        there = "|".join(re.escape(place) for place in sorted(self.moved, key=len, reverse=True))
        return re.sub(there, lambda found: self.moved[found[0]], text)

    def environment(self, image: dict[str, str]) -> dict[str, str]:
        given = {**image, **self.service.get("environment", {})}
        # The host's name, as Docker would make one, keeps two workers apart.
        return {"TMPDIR": str(self.folder / "tmp"), **{name: self.here(value) for name, value in given.items()}}

    def start(self, program: list[str], variables: dict[str, str]) -> None:
        self.variables = variables
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(program, env=variables, cwd=self.folder, stdout=log, stderr=log)

    @property
    def log_path(self) -> Path:
        return self.folder / "log"

    def log(self) -> str:
        return self.log_path.read_text()[-8000:]

    def check(self) -> subprocess.CompletedProcess[str]:
        """The service's own health check, once."""
        command = [self.here(word) for word in self.service["healthcheck"]["test"][1:]]
        limit = PATIENCE
        return subprocess.run(command, env=self.variables, capture_output=True, text=True, timeout=limit, check=False)

    def wait_healthy(self) -> None:
        def said() -> str:
            last = self.check()
            return f"{self.name}: {last.stdout}{last.stderr}\n{self.log()}"

        wait_until(lambda: self.check().returncode == 0, said)

    def stop(self) -> int:
        """As Docker ends it: SIGTERM, and the grace period at most."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(int(self.service.get("stop_grace_period", "10s").removesuffix("s")))

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@unittest.skipUnless(PROGRAM, "PITCHFLEET_TEST_PROGRAM names no executable")
class Fleet(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.variables, tokens = secrets()
        (self.folder / "secrets").mkdir()
        (self.folder / "secrets/tokens.toml").write_text(tokens)
        self.image = self.lay_out_worker()
        ports = free_ports(8)
        names = ("amqp", "s3", "rpc", "http", "api", "worker-1", "worker-2", "prometheus")
        self.ports = {name: f"127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}

    def lay_out_worker(self) -> Path:
        """The worker's image: its files where the Dockerfile puts them."""
        image = self.folder / "image"
        contents = {
            "build /out/pitchfleet": [(Path(PROGRAM), "pitchfleet")],
            "onnxruntime /out/": [(Path(os.environ["PITCHFLEET_ONNXRUNTIME"]), "libonnxruntime.so")],
            "models /out/": [
                (ROOT / source, f"{target}{source}" if target.endswith("/") else target)
                for source, target in (copy.split() for copy in words("models", "COPY"))
            ],
        }
        for copy in words("worker", "COPY"):
            stage, source, target = copy.removeprefix("--from=").split()
            for path, name in contents.pop(f"{stage} {source}"):
                place = image / target.strip("/") / name
                place.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    shutil.copytree(path, place)
                else:
                    shutil.copy(path, place)
        self.assertEqual(contents, {})
        return image

    def container(self, name: str, moved: dict[str, str], instance: str = "") -> Container:
        files = {place: f"{self.image}{place}" for place in ("/usr/bin/", "/usr/lib/pitchfleet/", "/usr/share/pitchfleet/")}
        network = {
            "rabbitmq:5672": self.ports["amqp"],
            "garage:3900": self.ports["s3"],
            "127.0.0.1:3900": self.ports["s3"],
            "api:8080": self.ports["http"],
        }
        made = Container(self.folder, name, {**files, **network, **moved}, instance)
        self.addCleanup(made.kill)
        return made

    def start_rabbitmq(self) -> None:
        """Debian's, placed by scripts/servers, with the service's variables and its health check."""
        service = self.container("rabbitmq", {})
        script = ROOT / "scripts/servers/rabbitmq.sh"
        base = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        given = {**base, **service.environment({})}
        self.addCleanup(lambda: subprocess.run([script, "stop", service.folder], env=base, check=True))
        subprocess.run([script, "start", service.folder], env=given, check=True, capture_output=True, text=True)
        node = subprocess.run(
            ["bash", "-c", f". {service.folder}/node.env && env"], env=given, check=True, capture_output=True, text=True
        ).stdout
        service.variables = dict(line.split("=", 1) for line in node.splitlines())
        self.ports["amqp"] = f"127.0.0.1:{service.variables['RABBITMQ_NODE_PORT']}"
        service.log_path.touch()
        service.moved |= {
            "rabbitmq-diagnostics": str(RABBITMQ / "rabbitmq-diagnostics"),
            "5672": service.variables["RABBITMQ_NODE_PORT"],
        }
        service.wait_healthy()

    def start_garage(self) -> Container:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pitchfleet/garage"
        version = services()["garage"]["image"].rsplit(":v", 1)[1]
        config = (ROOT / "deploy/garage.toml").read_text()
        for there, here in (
            ("/data", str(self.folder / "volumes/garage")),
            ("0.0.0.0:3900", self.ports["s3"]),
            ("127.0.0.1:3901", self.ports["rpc"]),
        ):
            self.assertIn(there, config)
            config = config.replace(there, here)
        (self.folder / "garage.toml").write_text(config)
        moved = {"/garage": str(cache / version / "bin/garage"), "/etc/garage.toml": str(self.folder / "garage.toml")}
        service = self.container("garage", moved)
        service.start([service.here(word) for word in service.service["command"]], service.environment({}))
        service.wait_healthy()
        return service

    def start_role(self, name: str, stage: str, moved: dict[str, str], instance: str = "") -> Container:
        service = self.container(name, moved, instance)
        given = service.environment(environment(stage))
        given["HOSTNAME"] = f"{name}{instance}"
        program = str(self.image / "usr/bin/pitchfleet")
        service.start([program, *map(service.here, service.service["command"])], given)
        return service

    def start_prometheus(self) -> Container:
        config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
        # Names of the network that Docker makes; here each has its own port.
        found = {"api": [self.ports["api"]], "worker": [self.ports["worker-1"], self.ports["worker-2"]], "worker-gpu": []}
        for job in config["scrape_configs"]:
            names = [name for entry in job.pop("dns_sd_configs", []) for name in entry["names"]]
            if names:
                job["static_configs"] = [{"targets": [target for name in names for target in found[name]]}]
        # So that nobody waits for it here.
        config["global"]["scrape_interval"] = "1s"
        text = yaml.safe_dump(config).replace("localhost:9090", self.ports["prometheus"])
        path = self.folder / "prometheus/prometheus.yml"
        path.parent.mkdir()
        path.write_text(text)
        (path.parent / "rules.yml").write_text((ROOT / "deploy/prometheus/rules.yml").read_text())
        moved = {
            "/etc/prometheus/prometheus.yml": str(path),
            "promtool": "/usr/bin/promtool",
            "127.0.0.1:9090": self.ports["prometheus"],
        }
        service = self.container("prometheus", moved)
        command = [service.here(word) for word in service.service["command"]]
        listen = f"--web.listen-address={self.ports['prometheus']}"
        service.start(["/usr/bin/prometheus", *command, listen], service.environment({}))
        service.wait_healthy()
        return service

    def query(self, expression: str) -> list[dict]:
        """What Grafana's data source would be told."""
        path = ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml"
        (source,) = yaml.safe_load(path.read_text())["datasources"]
        base = source["url"].replace("prometheus:9090", self.ports["prometheus"])
        answer = fetched(f"{base}/api/v1/query?query={urllib.parse.quote(expression)}")
        return json.loads(answer)["data"]["result"]

    def test_the_stack_analyses_the_samples_and_prometheus_sees_it(self):
        self.start_rabbitmq()
        garage = self.start_garage()
        api = self.start_role("api", "api", {"0.0.0.0:8080": self.ports["http"], "127.0.0.1:8080": self.ports["http"],
                                             "0.0.0.0:9464": self.ports["api"]})
        workers = []
        for number in range(1, services()["worker"]["deploy"]["replicas"] + 1):
            port = self.ports[f"worker-{number}"]
            moved = {"0.0.0.0:9464": port, "127.0.0.1:9464": port}
            workers.append(self.start_role("worker", "worker", moved, f"-{number}"))
        for service in (api, *workers):
            service.wait_healthy()
        prometheus = self.start_prometheus()
        self.ask_doctor(api)
        self.ask_doctor(workers[0])

        submit = self.start_role("submit", "worker", {})
        self.assertEqual(submit.process.wait(PATIENCE), 0, f"{submit.log()}\n{workers[0].log()}")

        results = self.results(submit, "--json")
        photos = [json.loads(line) for line in results.splitlines()]
        self.assertEqual(len(photos), SAMPLES)
        samples = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (ROOT / "samples").rglob("*.jpg")}
        self.assertEqual(len(samples), SAMPLES)
        for photo in photos:
            self.assertIn(photo["photo"]["sha256"], samples)

        wrong = {"PITCHFLEET_TOKEN": "pf_" + 64 * "0"}
        with self.assertRaises(subprocess.CalledProcessError):
            self.results(submit, **wrong)

        targets = 1 + len(workers) + 1

        def seen() -> bool:
            return len(self.query("up == 1")) == targets and self.counted() == SAMPLES

        wait_until(seen, lambda: f"{self.query('up')} {self.query('pitchfleet_photos_total')}\n{prometheus.log()}")

        logs = "".join(service.log_path.read_text() for service in (api, *workers, submit))
        for name, secret in self.variables.items():
            self.assertNotIn(secret, logs, name)
        for service in (*workers, api, prometheus, garage):
            self.assertEqual(service.stop(), 0, f"{service.name}\n{service.log()}")

    def ask_doctor(self, service: Container) -> None:
        """As `docker compose run NAME doctor` does; with the time that Compose gives it to stop."""
        command = [str(self.image / "usr/bin/pitchfleet"), "doctor", "--role", service.name]
        grace = ["--stop-timeout", service.service["stop_grace_period"]]
        said = subprocess.run([*command, *grace], env=service.variables, capture_output=True, text=True, check=False)
        self.assertEqual(said.returncode, 0, f"{service.name}\n{said.stdout}{said.stderr}")

    def counted(self) -> float:
        return sum(float(one["value"][1]) for one in self.query('sum(pitchfleet_photos_total{outcome="ok"})'))

    def results(self, submit: Container, *more: str, **variables: str) -> str:
        """`pitchfleet results last`, asked as `submit` asks."""
        command = [str(self.image / "usr/bin/pitchfleet"), "results", "last", *more]
        given = {**submit.variables, **variables}
        return subprocess.run(command, env=given, check=True, capture_output=True, text=True).stdout
