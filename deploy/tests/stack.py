"""docker-compose.yml and deploy/Dockerfile as container engines read them."""

import functools
import os
import subprocess
import tempfile
from pathlib import Path

import yaml
from dotenv import dotenv_values
from podman_compose import rec_subs

HERE = Path(__file__).parent
DEPLOY = HERE.parent
ROOT = DEPLOY.parent


@functools.cache
def raw() -> dict:
    """docker-compose.yml before variables are put in."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def filled(variables: dict[str, str]) -> dict:
    """docker-compose.yml with these variables; ValueError where one is missing that must not."""
    return rec_subs(raw(), variables)


@functools.cache
def secrets() -> tuple[dict[str, str], str]:
    """What deploy/secrets.sh writes: the variables of .env, and tokens.toml."""
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        (there / "deploy").mkdir()
        for name in ("deploy/secrets.sh", ".env.example"):
            (there / name).write_bytes((ROOT / name).read_bytes())
        subprocess.run(["sh", "deploy/secrets.sh"], cwd=there, check=True, capture_output=True)
        for name, mode in ((".env", 0o600), ("tokens.toml", 0o644)):
            assert os.stat(there / name).st_mode & 0o777 == mode, name
        return dotenv_values(there / ".env"), (there / "tokens.toml").read_text()


@functools.cache
def services() -> dict[str, dict]:
    """The services as `deploy/secrets.sh` and nothing else leaves them; not to be changed."""
    return filled(secrets()[0])["services"]


@functools.cache
def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, each on one line."""
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    joined = "\n".join(line for line in lines if not line.lstrip().startswith("#")).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


@functools.cache
def stages() -> dict[str, list[tuple[str, str]]]:
    """By name of the stage: what it is made from, under FROM, and its own instructions."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            base, _, name = rest.split()
            current = found[name] = []
            rest = base
        elif not found:
            continue
        current.append((word, rest))
    return found


def arguments() -> dict[str, str]:
    """Build arguments with their defaults."""
    return dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG" and "=" in rest)


def words(stage: str, instruction: str) -> list[str]:
    return [rest for word, rest in stages()[stage] if word == instruction]


def environment(stage: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in words(stage, "ENV") for pair in rest.split())
