"""Field names and types of KubeRay's resources, from its published CRDs.

    python tests/support/crd_fields.py VERSION rayjobs.yaml rayclusters.yaml rayservices.yaml

prints the content of tests/cluster/crds/kuberay-VERSION.json, for the files ray.io_*.yaml of
ray-operator/config/crd/bases in KubeRay's repository at that version. Only names, types, required
fields and choices are kept, of the version v1, and each type once: a JSON schema that refuses
unknown fields.
"""

import json
import re
import sys
from pathlib import Path

import yaml

# Of these the fields within are not kept: none of our files uses them, and they are most of a CRD.
OPAQUE = {
    *("affinity", "dnsConfig", "ephemeralContainers", "initContainers", "lifecycle", "status"),
    *("livenessProbe", "readinessProbe", "startupProbe", "topologySpreadConstraints"),
    *("resourceClaims", "hostAliases", "overhead", "headService", "serveService"),
    *("gcsFaultToleranceOptions", "networkPolicy", "tlsOptions", "deletionStrategy"),
    *("seLinuxOptions", "seccompProfile", "appArmorProfile", "windowsOptions", "schedulingGates"),
}
VOLUMES = {"name", "persistentVolumeClaim", "emptyDir", "configMap", "secret", "nfs", "hostPath"}


class Types:
    """The types of a CRD, each once, under the name of the field where it was first."""

    def __init__(self):
        self.known, self.names = {}, {}

    def named(self, schema, name):
        text = json.dumps(schema, sort_keys=True)
        if text not in self.names:
            base, number = name[0].upper() + name[1:], 2
            name = base
            while name in self.known:
                name, number = f"{base}{number}", number + 1
            self.names[text], self.known[name] = name, schema
        return {"$ref": f"#/$defs/{self.names[text]}"}

    def of(self, schema, name, within=""):
        """The part of a schema that is kept."""
        if schema.get("x-kubernetes-int-or-string"):
            return {"type": ["integer", "string"]}
        kind = schema.get("type")
        if name in OPAQUE or (within == "volumes" and name not in VOLUMES):
            return {"type": kind}
        if kind == "array":
            return {"type": kind, "items": self.of(schema["items"], name)}
        if kind == "object" and "properties" in schema:
            fields = schema["properties"]
            kept = {key: self.of(each, key, name) for key, each in fields.items()}
            return self.named(
                {
                    "type": kind,
                    "additionalProperties": False,
                    "required": schema.get("required", []),
                    "properties": kept,
                },
                name,
            )
        if kind == "object" and "additionalProperties" in schema:
            values = self.of(schema["additionalProperties"], name)
            return {"type": kind, "additionalProperties": values}
        choices = schema.get("enum")
        return {"enum": choices} if choices else {"type": kind}


def reduced(crds):
    types, kinds = Types(), {}
    for crd in crds:
        kind = crd["spec"]["names"]["kind"]
        (version,) = (each for each in crd["spec"]["versions"] if each["name"] == "v1")
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        kinds[kind] = types.of(spec, f"{kind}Spec")
    return {"kinds": kinds, "$defs": types.known}


if __name__ == "__main__":
    texts = [Path(name).read_text() for name in sys.argv[2:]]
    found = {"kuberay": sys.argv[1], **reduced(map(yaml.safe_load, texts))}
    # A type a line.
    print(re.sub(r"\n {3,}|\n {2}(?=[}\]])", " ", json.dumps(found, indent=1)))
