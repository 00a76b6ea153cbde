"""What deploy/ promises about itself."""

from __future__ import annotations

import yaml

from user_engagement.settings import PROJECT_ROOT


def test_temporary_files_of_a_load_are_on_the_volume_of_every_container_that_runs_loads() -> None:
    """They were written into the container's own file system, whatever the comments said about the volume."""
    text = (PROJECT_ROOT / "deploy" / "kubernetes.yaml").read_text()
    by_kind = {document["kind"]: document for document in yaml.safe_load_all(text)}
    folder = by_kind["ConfigMap"]["data"]["TMPDIR"]
    pod = by_kind["Deployment"]["spec"]["template"]["spec"]
    volumes = {v["name"] for v in pod["volumes"] if "persistentVolumeClaim" in v}
    for container in pod["containers"]:
        places = [m["mountPath"] for m in container["volumeMounts"] if m["name"] in volumes]
        assert any(folder.startswith(f"{place}/") for place in places), container["name"]
    # Python falls back to /tmp if the folder is not there
    assert "$TMPDIR" in pod["initContainers"][0]["command"][-1]
