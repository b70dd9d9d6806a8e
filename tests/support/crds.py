"""What KubeRay's CRDs do not take of a manifest, by their published fields (tests/cluster/crds)."""

import json
from pathlib import Path

from jsonschema import Draft202012Validator

FOLDER = Path(__file__).parents[1] / "cluster" / "crds"
VERSIONS = sorted(path.stem.removeprefix("kuberay-") for path in FOLDER.glob("*.json"))


def crd_problems(document, version):
    """`spec.a.b: …` for each field of a resource that is unknown, missing or of another type."""
    fields = json.loads((FOLDER / f"kuberay-{version}.json").read_text())
    kind = document["kind"]
    if document["apiVersion"] != "ray.io/v1" or kind not in fields["kinds"]:
        return [f"{document['apiVersion']} {kind}: none of KubeRay's"]
    schema = {**fields["kinds"][kind], "$defs": fields["$defs"]}
    found = Draft202012Validator(schema).iter_errors(document["spec"])
    return [f"{'.'.join(['spec', *map(str, each.path)])}: {each.message}" for each in found]
