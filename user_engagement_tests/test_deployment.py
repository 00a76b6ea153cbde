"""What deploy/ promises about itself: read by validators, and run without Docker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from kubernetes_validate import validate

from user_engagement.settings import PROJECT_ROOT
from user_engagement_tests.support import containers

DEPLOY = PROJECT_ROOT / "deploy"
BIN = Path(sys.executable).parent
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
KUBERNETES = "1.33"


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def pods() -> dict[str, dict[str, Any]]:
    """The pod of each Deployment."""
    return {
        m["metadata"]["name"]: m["spec"]["template"]["spec"] for m in manifests() if m["kind"] == "Deployment"
    }


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was seen of the services of compose.yaml while they ran."""
    missing = [program for program in ("unshare", "bwrap") if not shutil.which(program)]
    if missing or containers.binaries() is None:
        pytest.skip(f"apt-get install bubblewrap util-linux postgresql: {missing} is not there")
    allowed = subprocess.run(
        [*containers.IN_A_NEW_NETWORK, *containers.SANDBOX], capture_output=True, text=True
    )
    if allowed.returncode != 0:
        pytest.skip(f"this machine lets nobody make networks and sandboxes: {allowed.stderr}")
    folder = tmp_path_factory.mktemp("containers")
    program = [sys.executable, "-m", containers.__name__, str(folder)]
    if request.config.getoption("--exhaustive"):
        program.append("--restarting")
    done = subprocess.run(
        [*containers.IN_A_NEW_NETWORK, *program],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.waits
def test_every_service_of_the_compose_file_becomes_healthy_in_read_only_sandboxes(
    seen: dict[str, Any],
) -> None:
    assert set(seen["ready"]) == set(containers.compose()["services"])


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_proxy_lets_readers_see_the_dashboard_and_operators_dagster(seen: dict[str, Any]) -> None:
    assert seen["statuses"] == {
        "dashboard None": 401,
        "dashboard reader": 200,
        "dashboard operator": 401,
        "dagster None": 401,
        "dagster reader": 401,
        "dagster operator": 200,
    }


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_dashboard_works_behind_the_proxy_for_its_own_pages_alone(seen: dict[str, Any]) -> None:
    assert seen["websockets"] == {"https://localhost": 101, "https://elsewhere.example": 403}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_dashboard_in_a_container_asks_nobody_for_its_address(seen: dict[str, Any]) -> None:
    """Streamlit asked a server on the internet at each start, to print an address."""
    assert "external IP" not in seen["said by the dashboard"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_launched_through_the_proxy_succeeds(seen: dict[str, Any]) -> None:
    assert seen["first"] == "SUCCESS"


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_fails_when_its_code_server_is_restarted(seen: dict[str, Any]) -> None:
    (message,) = seen["lost"]
    assert "the code server code has none for it" in message


def test_the_compose_file_keeps_to_the_compose_specification() -> None:
    parsed = PyCompose.from_json(json.dumps(containers.compose()))
    parsed.validate()
    assert set(parsed.service_names()) >= {"proxy", "postgres", "code", "webserver", "daemon", "dashboard"}


def test_every_service_is_confined_limited_and_watched() -> None:
    for name, service in containers.compose()["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"], name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        assert re.fullmatch(r"[a-z-]+:\d+\.\d+\S*", service["image"]), "a version, not latest"
        assert "healthcheck" in service or service["restart"] == "on-failure", name


def test_only_the_proxy_has_ports_and_it_cannot_reach_the_code_server_or_the_database() -> None:
    services = containers.compose()["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    assert services["proxy"]["networks"] == services["dashboard"]["networks"] == ["web"]
    assert "web" not in services["code"]["networks"] + services["postgres"]["networks"]


def test_no_secret_stands_in_the_compose_file_or_goes_into_the_image() -> None:
    everything = containers.compose()
    for name, service in everything["services"].items():
        words = [key for key in service.get("environment", {}) if re.search("PASSWORD|SECRET|KEY", key)]
        assert all(key.endswith("_FILE") for key in words), name
    assert {secret["file"].split("/")[1] for secret in everything["secrets"].values()} == {"secrets"}
    assert "deploy/secrets/" in (PROJECT_ROOT / ".gitignore").read_text().splitlines()
    assert not sent_to_the_builder("deploy/secrets")


def sent_to_the_builder(path: str) -> bool:
    """Whether .dockerignore lets a file pass: the last pattern that fits it, or a folder around it, decides."""
    passes = True
    for line in (PROJECT_ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        fits = any(fnmatch(str(p), pattern) for p in (Path(path), *Path(path).parents) if str(p) != ".")
        if fits and line and not line.startswith("#"):
            passes = line.startswith("!")
    return passes


def test_the_dockerfile_has_no_fault_that_hadolint_knows() -> None:
    done = subprocess.run(
        [BIN / "hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_builder_gets_every_file_that_the_dockerfile_copies() -> None:
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
        for word in line.split()
    ]
    assert "user_engagement_dbt" in copied
    for path in copied:
        assert (PROJECT_ROOT / path).exists(), path
        assert sent_to_the_builder(path), path
    for path in (".venv", ".git", ".user_engagement", "user_engagement_tests", "user_engagement_dbt/target"):
        assert not sent_to_the_builder(path), path


def test_the_image_holds_locked_packages_alone_and_runs_as_a_user_without_rights() -> None:
    installs = re.findall(r"uv pip install .*?(?= \\$|$)", DOCKERFILE, re.MULTILINE)
    assert len(installs) == 2
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
    assert len(re.findall(r"^FROM python:\d+\.\d+\.\d+-slim-bookworm", DOCKERFILE, re.MULTILINE)) == 2
    assert "USER 1000:1000" in DOCKERFILE
    assert "HEALTHCHECK" in DOCKERFILE


@pytest.mark.parametrize("manifest", manifests(), ids=lambda m: f"{m['kind']} {m['metadata']['name']}")
def test_each_manifest_keeps_to_the_schema_of_kubernetes(manifest: dict[str, Any]) -> None:
    validate(manifest, KUBERNETES, strict=True)


def test_every_container_in_kubernetes_is_confined_limited_and_probed() -> None:
    for name, pod in pods().items():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, "USER_ENGAGEMENT_PORT would be an unknown setting"
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"], container["name"]
            assert context["allowPrivilegeEscalation"] is False, container["name"]
            assert context["capabilities"] == {"drop": ["ALL"]}, container["name"]
            assert set(container["resources"]) == {"requests", "limits"}, container["name"]
            assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]], container["name"]
        for container in pod["containers"]:
            assert {"livenessProbe", "startupProbe"} <= set(container), container["name"]


def test_temporary_files_of_a_load_are_on_the_volume_of_every_container_that_runs_loads() -> None:
    """They were written into the container's own file system, whatever the comments said about the volume."""
    (folder,) = (m["data"]["TMPDIR"] for m in manifests() if m["kind"] == "ConfigMap")
    pod = pods()["user-engagement"]
    volumes = {v["name"] for v in pod["volumes"] if "persistentVolumeClaim" in v}
    for container in pod["containers"]:
        places = [m["mountPath"] for m in container["volumeMounts"] if m["name"] in volumes]
        assert any(folder.startswith(f"{place}/") for place in places), container["name"]
    # Python falls back to /tmp if the folder is not there
    assert "$TMPDIR" in pod["initContainers"][0]["command"][-1]


def test_services_policies_and_the_ingress_meet_pods_and_ports_that_exist() -> None:
    labels = {name: {"app": name} for name in pods()}
    ports = {
        name: {p["name"] for c in pod["containers"] for p in c.get("ports", [])}
        for name, pod in pods().items()
    }
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for manifest in manifests():
        by_kind.setdefault(manifest["kind"], []).append(manifest)
    services = {service["metadata"]["name"] for service in by_kind["Service"]}
    for service in by_kind["Service"]:
        (app,) = (name for name, label in labels.items() if label == service["spec"]["selector"])
        assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports[app]
    for policy in by_kind["NetworkPolicy"]:
        (app,) = (
            name for name, label in labels.items() if label == policy["spec"]["podSelector"]["matchLabels"]
        )
        assert {p["port"] for rule in policy["spec"]["ingress"] for p in rule["ports"]} <= ports[app]
    assert len(by_kind["NetworkPolicy"]) == len(labels), "no pod without a policy"
    for ingress in by_kind["Ingress"]:
        assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/auth-type"] == "basic"
        for rule in ingress["spec"]["rules"]:
            assert {path["backend"]["service"]["name"] for path in rule["http"]["paths"]} <= services
