"""`.env.example`, `compose.yaml` and the `Dockerfile` agree with the settings and with each other."""

import re
from itertools import pairwise
from pathlib import Path

import yaml

from app.settings import Settings
from tests.support.paths import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
EXAMPLE = ROOT / ".env.example"


def test_the_example_contains_every_setting_once_and_no_other():
    named = re.findall(r"^([A-Z_]+)=", EXAMPLE.read_text(), re.MULTILINE)
    assert sorted(named) == sorted(name.upper() for name in Settings.model_fields)


def test_the_example_contains_the_default_values(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert Settings(_env_file=EXAMPLE).model_dump() == defaults


def test_every_setting_of_the_example_has_a_comment():
    lines = EXAMPLE.read_text().splitlines()
    for before, line in pairwise(lines):
        assert before or not re.match(r"[A-Z_]+=", line), f"{line} has no comment"


def test_compose_sets_only_settings_that_exist():
    for name in COMPOSE["services"]["service"]["environment"]:
        assert name.removesuffix("_FILE").lower() in Settings.model_fields, name


def test_compose_mounts_every_secret_that_a_setting_reads():
    for service in COMPOSE["services"].values():
        read = {Path(path).name for name, path in service["environment"].items() if name.endswith("_FILE")}
        assert read == set(service["secrets"]) <= set(COMPOSE["secrets"])


def test_compose_removes_privileges_the_service_does_not_need():
    for name in ("service", "migrate"):
        service = COMPOSE["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_compose_migrates_before_any_replica_starts():
    assert COMPOSE["services"]["migrate"]["command"][0] == "migrate"
    assert COMPOSE["services"]["migrate"]["restart"] == "no"
    waits_for = COMPOSE["services"]["service"]["depends_on"]
    assert waits_for["migrate"] == {"condition": "service_completed_successfully"}
    assert waits_for["postgres"] == {"condition": "service_healthy"}


def test_compose_migrates_as_the_owner_and_serves_as_a_role_that_owns_nothing():
    services = COMPOSE["services"]
    assert services["migrate"]["command"][1:] == ["--service-role", "vectis_service"]
    urls = {name: services[name]["environment"]["DATABASE_URL_FILE"] for name in ("migrate", "service")}
    assert urls == {"migrate": "/run/secrets/migration_database_url", "service": "/run/secrets/database_url"}
    # Only the one-shot migration is given the owner's password.
    assert "migration_database_url" not in services["service"]["secrets"]
    lines = (ROOT / "compose.yaml").read_text().splitlines()
    made = {line.rpartition("secrets/")[2]: line for line in lines if "postgresql+asyncpg://" in line}
    assert "//vectis:" in made["migration_database_url"]
    assert "//vectis_service:" in made["database_url"]
    [script] = [volume for volume in services["postgres"]["volumes"] if volume.startswith("./")]
    assert (ROOT / script.partition(":")[0]).is_file()


def test_images_are_pinned_and_the_service_is_not_root():
    images = [*re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE), COMPOSE["services"]["postgres"]["image"]]
    assert all(re.fullmatch(r"[a-z]+:\d[\w.-]+", image) for image in images)
    (user,) = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    assert int(user) > 0


def test_the_image_copies_exactly_what_dockerignore_allows():
    allowed = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(\S+)", DOCKERFILE, re.MULTILINE)
    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / path).exists() for path in copied)
