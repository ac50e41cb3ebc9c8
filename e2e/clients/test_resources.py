"""fhir.resources: every resource the server hands out is one in the eyes of independent models.

The package has no models of R4 itself; R4B differs from R4 only in the types that are left out here."""

import importlib

import pytest

# Reworked in R4B.
CHANGED = {"Evidence", "EvidenceVariable", "MedicinalProduct", "SubstanceSpecification"}
# Of each type, at most so many.
LIMIT = 200


def model(kind):
    return getattr(importlib.import_module(f"fhir.resources.R4B.{kind.lower()}"), kind)


def test_the_capability_statement_is_valid(server):
    model("CapabilityStatement").model_validate(server.get("metadata"))


def test_everything_the_server_has_is_valid(server):
    statement = server.get("metadata")
    kinds = [r["type"] for r in statement["rest"][0]["resource"] if r["type"] not in CHANGED]
    checked = 0
    for kind in kinds:
        if kind == "AuditEvent":
            continue
        for n, resource in enumerate(server.pages(f"{kind}?_count=100")):
            if n == LIMIT:
                break
            model(kind).model_validate(resource)
            checked += 1
    assert checked > 500


def test_audit_events_are_valid(server):
    for entry in server.get("AuditEvent?_count=100")["entry"]:
        model("AuditEvent").model_validate(entry["resource"])


@pytest.mark.parametrize(
    "path",
    [
        "Patient?_count=5",
        "Observation?_count=5&_include=Observation:subject",
        "Patient?_count=3&_revinclude=Encounter:subject",
        "Patient?_count=2&_summary=true",
        "Patient?_count=2&_elements=name",
        "Patient/_history?_count=5",
    ],
)
def test_bundles_are_valid(server, path):
    model("Bundle").model_validate(server.get(path))


def test_everything_operation_is_valid(server):
    patient = server.get("Patient?_count=1")["entry"][0]["resource"]["id"]
    model("Bundle").model_validate(server.get(f"Patient/{patient}/$everything"))
