"""fhirclient: the SMART project's Python client, whose models refuse what is not R4."""

import uuid

import pytest
from fhirclient.client import FHIRClient
from fhirclient.models import bundle, encounter, observation, patient


@pytest.fixture
def smart(server):
    client = FHIRClient(settings={"app_id": "uzima-tests", "api_base": server.base})
    client.server.session.headers["Authorization"] = f"Bearer {server.token}"
    return client


def test_the_capability_statement_is_read(smart):
    statement = smart.server.capabilityStatement
    assert statement.fhirVersion == "4.0.1"
    assert {r.type for r in statement.rest[0].resource} >= {"Patient", "Observation", "Encounter"}


def test_create_read_update_delete(smart):
    new = patient.Patient({"name": [{"family": "Smart", "given": ["Otieno"]}], "gender": "male"})
    created = new.create(smart.server)
    assert created["id"]
    read = patient.Patient.read(created["id"], smart.server)
    assert read.name[0].family == "Smart"
    read.active = True
    assert read.update(smart.server)["meta"]["versionId"] == "2"
    read.delete(smart.server)


def test_searches_parse_as_models(smart):
    found = observation.Observation.where({"code": "8867-4", "_count": "20"}).perform_resources(smart.server)
    assert all(o.subject.reference.startswith("Patient/") for o in found)

    search = encounter.Encounter.where({"_count": "5"}).include("subject")
    answer = search.perform(smart.server)
    assert isinstance(answer, bundle.Bundle)
    assert {e.search.mode for e in answer.entry} == {"match", "include"}


def test_pages_are_walked(smart):
    found = patient.Patient.where({"_count": "10"}).perform_resources(smart.server)
    assert len({p.id for p in found}) == len(found) >= 10


def test_a_bundle_is_a_transaction(smart):
    identifier = uuid.uuid4().hex
    transaction = bundle.Bundle(
        {
            "type": "transaction",
            "entry": [
                {
                    "resource": {
                        "resourceType": "Patient",
                        "identifier": [{"system": "https://clinic.example/mrn", "value": identifier}],
                    },
                    "request": {
                        "method": "POST",
                        "url": "Patient",
                        "ifNoneExist": f"identifier=https://clinic.example/mrn|{identifier}",
                    },
                }
            ],
        }
    )
    first = smart.server.post_json("", transaction.as_json()).json()
    second = smart.server.post_json("", transaction.as_json()).json()
    assert first["entry"][0]["response"]["status"].startswith("201")
    assert second["entry"][0]["response"]["status"].startswith("200")
