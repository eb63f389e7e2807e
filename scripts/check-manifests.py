#!/usr/bin/env python3
"""Checks of rendered manifests that no schema can make.

usage: check-manifests.py RENDERED.yaml

Fails when a selector selects no pod of the Deployment, when a port is named that no container has,
or when a mounted ConfigMap or a ServiceAccount does not exist.
"""

import sys

import yaml


def problems(documents):
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    pod = template["spec"]
    ports = {port["name"] for container in pod["containers"] for port in container["ports"]}
    names = {(document["kind"], document["metadata"]["name"]) for document in documents}

    def selects(selector):
        return bool(selector) and selector.items() <= labels.items()

    def match_labels(holder, key):
        return (holder.get(key) or {}).get("matchLabels")

    for document in documents:
        kind, spec = document["kind"], document.get("spec", {})
        name = f"{kind}/{document['metadata']['name']}"
        if kind == "Service":
            if not selects(spec.get("selector")):
                yield f"{name}: the selector selects no pod"
            for port in spec["ports"]:
                if port["targetPort"] not in ports:
                    yield f"{name}: no container has the port {port['targetPort']}"
        if kind in ("Deployment", "PodDisruptionBudget", "PodMonitor"):
            if not selects(match_labels(spec, "selector")):
                yield f"{name}: the selector selects no pod"
        for endpoint in spec.get("podMetricsEndpoints", []):
            if endpoint["port"] not in ports:
                yield f"{name}: no container has the port {endpoint['port']}"

    for constraint in pod.get("topologySpreadConstraints", []):
        if not selects(match_labels(constraint, "labelSelector")):
            yield f"topology spread over {constraint['topologyKey']}: the selector selects no pod"
    for container in pod["containers"]:
        for probe in ("readinessProbe", "startupProbe", "livenessProbe"):
            if container[probe]["httpGet"]["port"] not in ports:
                yield f"{probe}: no container has the port {container[probe]['httpGet']['port']}"
    if ("ServiceAccount", pod["serviceAccountName"]) not in names:
        yield f"no ServiceAccount {pod['serviceAccountName']}"
    for volume in pod["volumes"]:
        if "configMap" in volume and ("ConfigMap", volume["configMap"]["name"]) not in names:
            yield f"volume {volume['name']}: no ConfigMap {volume['configMap']['name']}"


def main(rendered):
    with open(rendered) as file:
        found = list(problems([document for document in yaml.safe_load_all(file) if document]))
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
