"""What `deploy/` holds is valid by the published schemas, safe by default, and parsed by the program itself."""

import stat
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from thermocline.wiring.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
TOOLS = Path(sys.executable).parent


def _objects() -> Iterator[dict[str, Any]]:
    for manifest in MANIFESTS:
        if manifest.name != "kustomization.yaml":
            yield from yaml.safe_load_all(manifest.read_text())


WORKLOADS = [each for each in _objects() if each["kind"] in {"Deployment", "Job"}]


def _run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=240, check=False, cwd=cwd)


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


@pytest.mark.parametrize("manifest", list(_objects()), ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_manifests_are_valid(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, "1.34", strict=True)


def test_a_wrong_manifest_is_found() -> None:
    wrong = yaml.safe_load((DEPLOY / "kubernetes" / "migrate.yaml").read_text())
    wrong["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRoot"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.34", strict=True)


def test_the_kustomization_names_every_manifest() -> None:
    named = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    assert sorted(named) == [each.name for each in MANIFESTS if each.name != "kustomization.yaml"]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda each: each["metadata"]["name"])
def test_pods_have_no_rights(workload: dict[str, Any]) -> None:
    pod = workload["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        # Secrets are files, never values.
        assert all(each["name"].endswith("__FILE") for each in container["env"])
        mounted = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
        assert all(each["value"].startswith(f"{mounted['secrets']}/") for each in container["env"])


def test_serving_pods_drain_and_are_probed(fleet: Settings) -> None:
    (serve,) = (each for each in WORKLOADS if each["metadata"]["name"] == "thermocline-serve")
    pod = serve["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
    lingering = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= lingering + fleet.limits.drain_time + 15
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Mi")) * 2**20
    assert fleet.limits.memory + fleet.cache.memory < 0.6 * limit


def test_every_deployment_has_a_disruption_budget_that_lets_a_node_go() -> None:
    budgets = {
        str(each["spec"]["selector"]["matchLabels"]): each["spec"]["minAvailable"]
        for each in _objects()
        if each["kind"] == "PodDisruptionBudget"
    }
    deployments = [each for each in WORKLOADS if each["kind"] == "Deployment"]
    assert len(budgets) == len(deployments)
    for deployment in deployments:
        labels = deployment["spec"]["selector"]["matchLabels"]
        assert 1 <= budgets[str(labels)] < deployment["spec"]["replicas"]
        assert deployment["spec"]["template"]["metadata"]["labels"] == labels


@pytest.fixture
def fleet(tmp_path: Path) -> Settings:
    """The settings that the manifests mount."""
    mounted = tmp_path / "thermocline.toml"
    mounted.write_text(yaml.safe_load((DEPLOY / "kubernetes" / "settings.yaml").read_text())["data"][mounted.name])
    return Settings.load(mounted)


def test_the_settings_are_the_programs_own(fleet: Settings) -> None:
    assert fleet.http.host == "0.0.0.0"  # noqa: S104
    for name in ("thermocline.toml", "thermocline-compose.toml"):
        assert Settings.load(DEPLOY / name).log.format == "json"


def test_compose_is_valid() -> None:
    checked = _run(str(TOOLS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml")
    assert checked.returncode == 0, checked.stdout


def test_composed_services_have_no_rights_and_no_secrets_in_the_open() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for name in ("migrate", "serve", "worker"):
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert set(service["secrets"]) <= compose["secrets"].keys()
        assert all(each.endswith("__FILE") for each in service["environment"])
        assert _seconds(service["stop_grace_period"]) > Settings.load(DEPLOY / "thermocline.toml").limits.drain_time
    assert compose["services"]["serve"]["ports"] == ["127.0.0.1:8080:8080"]


def test_secrets_are_made_once(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets"
    script.write_bytes((DEPLOY / "make-secrets").read_bytes())
    script.chmod(0o755)
    assert _run(str(script)).returncode == 0
    secrets = {each.name: each.read_text() for each in (tmp_path / "secrets").iterdir()}
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert secrets.keys() == compose["secrets"].keys()
    assert secrets["catalog_password"] in secrets["catalog_url"]
    assert len({secrets["catalog_password"], secrets["cache_password"]}) == 2
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert _run(str(script)).returncode == 0
    assert {each.name: each.read_text() for each in (tmp_path / "secrets").iterdir()} == secrets


def test_the_image_is_made_as_one_should() -> None:
    checked = _run(str(TOOLS / "hadolint"), "deploy/Containerfile")
    assert checked.returncode == 0, checked.stdout
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    for source in (each for sources in copied for each in sources):
        assert (ROOT / source).exists(), source
    assert next(line for line in reversed(lines) if line.startswith("USER")) == "USER 10001:10001"


@pytest.mark.server
def test_the_package_holds_every_file_of_the_source(tmp_path: Path) -> None:
    """The image installs the package, not the checkout."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "src").symlink_to(ROOT / "src")
    built = _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(tmp_path))
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("thermocline-*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    source = {
        str(each.relative_to(ROOT / "src"))
        for each in (ROOT / "src" / "thermocline").rglob("*")
        if each.is_file() and "__pycache__" not in each.parts
    }
    assert source <= packed
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert wheel.name.startswith(f"thermocline-{version}-")
