"""
The Helm chart, rendered by two releases of helm and checked against Kubernetes 1.30 to 1.37.

No cluster runs it here. The tests check what a cluster would refuse, and the mistakes that it would not.
"""

import itertools
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mavera.settings import Settings, takes_file
from tests.docs.pages import ROOT
from tests.support.helm import PACKAGES, find_helm
from tests.support.requirements import require_module

pytestmark = pytest.mark.proof

CHART = ROOT / "deploy" / "chart" / "mavera"
EXAMPLES = sorted((ROOT / "deploy" / "chart" / "examples").glob("*.yaml"))
KUBERNETES = [f"1.{minor}" for minor in range(30, 38)]
CUSTOM = {"ServiceMonitor"}

each_helm = pytest.mark.parametrize("helm", PACKAGES)
each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


def run_helm(version: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(find_helm(version)), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def render(version: str, example: Path, *options: str) -> list[dict[str, Any]]:
    yaml = require_module("yaml")
    done = run_helm(version, "template", "prod", str(CHART), "--values", str(example), *options)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in objects if one["kind"] == kind]


def pods_of(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the templates of all pods."""
    return [one["spec"]["template"] for one in objects if one["kind"] in ("Deployment", "Job")]


def is_selected(labels: dict[str, str], selector: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def list_selected(pods: dict[str, dict[str, str]], one: dict[str, Any]) -> list[str]:
    """Return the components whose pods an object with `matchLabels` selects."""
    selector = one["spec"]["selector"]["matchLabels"]
    return [name for name, labels in pods.items() if is_selected(labels, selector)]


def test_there_are_three_examples() -> None:
    assert len(EXAMPLES) == 3


@each_helm
@each_example
def test_every_object_fits_its_schema(helm: str, example: Path) -> None:
    validator = require_module("kubernetes_validate")
    objects = render(helm, example)
    kinds = {one["kind"] for one in objects}
    assert {"Deployment", "Service", "Job", "NetworkPolicy", "PodDisruptionBudget"} <= kinds
    for version, one in itertools.product(KUBERNETES, objects):
        if one["kind"] not in CUSTOM:
            validator.validate(one, version, strict=True)


@each_helm
@each_example
def test_helm_finds_no_fault(helm: str, example: Path) -> None:
    done = run_helm(helm, "lint", "--strict", str(CHART), "--values", str(example))
    assert done.returncode == 0, done.stdout


@each_example
def test_selectors_match_what_they_are_meant_for(example: Path) -> None:
    objects = render("4.3", example)
    pods = {
        template["metadata"]["labels"]["app.kubernetes.io/component"]: template["metadata"]["labels"]
        for template in pods_of(objects)
    }
    for deployment in of_kind(objects, "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert is_selected(labels, deployment["spec"]["selector"]["matchLabels"])
        assert (
            sum(is_selected(one, deployment["spec"]["selector"]["matchLabels"]) for one in pods.values()) == 1
        )
    for budget in of_kind(objects, "PodDisruptionBudget"):
        selected = [
            name for name, one in pods.items() if is_selected(one, budget["spec"]["selector"]["matchLabels"])
        ]
        assert selected == ["server"]
        assert budget["spec"]["maxUnavailable"] == 1, "with one replica, another rule blocks the drain"
    api, metrics = of_kind(objects, "Service")
    assert [name for name, one in pods.items() if is_selected(one, api["spec"]["selector"])] == ["server"]
    assert {"server", "worker"} <= {
        name for name, one in pods.items() if is_selected(one, metrics["spec"]["selector"])
    }
    for service in (api, metrics):
        for port in service["spec"]["ports"]:
            holders = [
                template
                for template in pods_of(objects)
                if is_selected(template["metadata"]["labels"], service["spec"]["selector"])
                and template["metadata"]["labels"]["app.kubernetes.io/component"] != "migration"
            ]
            for template in holders:
                names = [one["name"] for one in template["spec"]["containers"][0]["ports"]]
                assert port["targetPort"] in names


@each_example
def test_a_service_monitor_finds_the_port_of_the_metrics(example: Path) -> None:
    objects = render("4.3", example)
    metrics = of_kind(objects, "Service")[1]
    for monitor in of_kind(objects, "ServiceMonitor"):
        assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
        selector = monitor["spec"]["selector"]["matchLabels"]
        found = [s for s in of_kind(objects, "Service") if is_selected(s["metadata"]["labels"], selector)]
        assert found == [metrics], "the API's service must not be scraped"
        [endpoint] = monitor["spec"]["endpoints"]
        assert endpoint["port"] in [port["name"] for port in metrics["spec"]["ports"]]


@each_example
def test_one_writer_sets_the_number_of_replicas(example: Path) -> None:
    objects = render("4.3", example)
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in of_kind(objects, "HorizontalPodAutoscaler")}
    deployments = of_kind(objects, "Deployment")
    assert scaled <= {one["metadata"]["name"] for one in deployments}
    for one in deployments:
        assert ("replicas" in one["spec"]) == (one["metadata"]["name"] not in scaled)


@each_example
def test_the_hook_refers_only_to_what_exists_before_the_release(example: Path) -> None:
    objects = render("4.3", example)
    [job] = of_kind(objects, "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    spec = job["spec"]["template"]["spec"]
    assert "serviceAccountName" not in spec
    [container] = spec["containers"]
    assert "envFrom" not in container
    assert not [one for one in container["env"] if "valueFrom" in one]
    made = {(one["kind"], one["metadata"]["name"]) for one in objects}
    for volume in spec["volumes"]:
        assert set(volume) - {"name"} <= {"projected", "emptyDir"}
        for source in volume.get("projected", {}).get("sources", []):
            assert ("Secret", source["secret"]["name"]) not in made
    assert container["args"][:3] == ["db", "upgrade", "--wait"]
    assert not of_kind(objects, "Secret"), "the chart makes no secrets"


@each_example
def test_pods_have_no_rights_and_known_settings(example: Path) -> None:
    known = set(Settings.__struct_fields__)
    for template in pods_of(render("4.3", example)):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert "runAsUser" not in spec["securityContext"], "any user id works"
        [container] = spec["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert ":latest" not in container["image"]
        names = [one["name"] for one in container["env"]]
        assert len(names) == len(set(names))
        for name in names:
            setting = name.removeprefix("MAVERA_").lower()
            if name.endswith("_FILE"):
                assert takes_file(setting.removesuffix("_file")), name
            else:
                assert setting in known, name


@each_example
def test_a_server_has_time_to_drain_and_to_finish(example: Path) -> None:
    for one in of_kind(render("4.3", example), "Deployment"):
        spec = one["spec"]["template"]["spec"]
        env = {item["name"]: item["value"] for item in spec["containers"][0]["env"]}
        if "MAVERA_DRAIN_SECONDS" in env:
            drain, grace = int(env["MAVERA_DRAIN_SECONDS"]), int(env["MAVERA_SHUTDOWN_GRACE_SECONDS"])
            assert drain > 0
            assert spec["terminationGracePeriodSeconds"] == drain + grace + 5


def test_settings_of_the_chart_are_accepted_by_the_program(tmp_path: Path) -> None:
    """The rendered values are read as a pod would read them."""
    for example in EXAMPLES:
        for template in pods_of(render("4.3", example)):
            env = {item["name"]: item["value"] for item in template["spec"]["containers"][0]["env"]}
            for name in list(env):
                if name.endswith("_FILE"):
                    (tmp_path / name).write_text("postgresql://db/mavera", encoding="utf-8")
                    env[name] = str(tmp_path / name)
            env["MAVERA_DATA_DIR"] = str(tmp_path)
            code = "from mavera.settings import load_settings; load_settings()"
            python = require_module("sys").executable
            done = subprocess.run(
                [python, "-c", code],
                env={"PATH": os.environ["PATH"], **env},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr


@each_helm
@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--set", "secrets.database_url=null"], "database_url"),
        (["--set", "secrets.key_pepper=null"], "key_pepper"),
        (["--set", "settings.upstream_base_url=null"], "upstream_base_url"),
        (["--set", "settings.database_url=postgresql://x"], "database_url"),
        (["--set", "server.replicas=0"], "replicas"),
        (["--set", "server.replica=2"], "replica"),
        (["--set", "secrets.port.name=a,secrets.port.key=b"], "port"),
    ],
)
def test_values_that_cannot_work_are_refused(helm: str, options: list[str], fault: str) -> None:
    done = run_helm(helm, "template", "prod", str(CHART), "--values", str(EXAMPLES[-1]), *options)
    assert done.returncode != 0
    assert fault in done.stderr
