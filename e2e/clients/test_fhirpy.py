"""fhirpy: the asynchronous client with its search sets, references and patches."""

import uuid

import pytest
from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome, ResourceNotFound


@pytest.fixture
def client(server):
    return SyncFHIRClient(server.base, authorization=f"Bearer {server.token}")


def a_patient(client, family):
    return client.resource("Patient", name=[{"family": family, "given": ["Asha"]}], gender="female", birthDate="1990-02-03")


def test_a_resource_lives_through_all_its_interactions(client):
    family = f"Fhirpy{uuid.uuid4().hex[:8]}"
    patient = a_patient(client, family)
    patient.save()
    assert patient.id and patient["meta"]["versionId"] == "1"

    again = client.resources("Patient").search(family=family).first()
    assert again.id == patient.id

    again["birthDate"] = "1990-02-04"
    again.save()
    assert client.reference("Patient", patient.id).to_resource()["meta"]["versionId"] == "2"

    patched = client.patch(f"Patient/{patient.id}", gender="other")
    assert patched["gender"] == "other" and patched["birthDate"] == "1990-02-04"

    again.delete()
    with pytest.raises(ResourceNotFound):
        client.reference("Patient", patient.id).to_resource()


def test_get_or_create_and_conditional_update(client):
    system, value = "https://clinic.example/mrn", uuid.uuid4().hex
    new = dict(
        identifier=[{"system": system, "value": value}], name=[{"family": "Once"}]
    )
    found = client.resources("Patient").search(identifier=f"{system}|{value}")
    first, created = found.get_or_create(client.resource("Patient", **new))
    assert created
    second, created = found.get_or_create(client.resource("Patient", **new))
    assert not created and second.id == first.id

    new["name"] = [{"family": "Twice"}]
    updated, created = found.update(client.resource("Patient", **new))
    assert not created and updated.id == first.id and updated["name"][0]["family"] == "Twice"


def test_search_with_chains_includes_and_modifiers(client):
    family = f"Chain{uuid.uuid4().hex[:8]}"
    patient = a_patient(client, family)
    patient.save()
    observation = client.resource(
        "Observation",
        status="final",
        code={"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        subject=patient.to_reference(),
        effectiveDateTime="2026-11-01T10:00:00Z",
        valueQuantity={"value": 72, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
    )
    observation.save()

    found = client.resources("Observation").search(subject__Patient__family=family).fetch()
    assert [o.id for o in found] == [observation.id]

    found = client.resources("Patient").has("Observation", "patient", code="8867-4").search(family=family).fetch()
    assert [p.id for p in found] == [patient.id]

    bundle = client.resources("Observation").search(_id=observation.id).include("Observation", "subject").fetch_raw()
    assert sorted(e["resource"]["resourceType"] for e in bundle["entry"]) == ["Observation", "Patient"]

    bundle = client.resources("Patient").search(_id=patient.id).revinclude("Observation", "subject").fetch_raw()
    assert sorted(e["resource"]["resourceType"] for e in bundle["entry"]) == ["Observation", "Patient"]

    assert client.resources("Observation").search(date__ge="2026-11-01", date__lt="2026-11-02", _id=observation.id).count() == 1
    assert client.resources("Patient").search(family__exact=family.lower()).count() == 0
    assert client.resources("Patient").search(family__exact=family).count() == 1


def test_transactions(client):
    urn = f"urn:uuid:{uuid.uuid4()}"
    bundle = client.resource(
        "Bundle",
        type="transaction",
        entry=[
            {
                "fullUrl": urn,
                "resource": {"resourceType": "Patient", "name": [{"family": "Transaction"}]},
                "request": {"method": "POST", "url": "Patient"},
            },
            {
                "resource": {
                    "resourceType": "Observation",
                    "status": "final",
                    "code": {"text": "pulse"},
                    "subject": {"reference": urn},
                },
                "request": {"method": "POST", "url": "Observation"},
            },
        ],
    )
    bundle.save()
    assert [e["response"]["status"][:3] for e in bundle["entry"]] == ["201", "201"]


def test_every_page_is_reached_once(client):
    ids = [p.id for p in client.resources("Patient").limit(7).fetch_all()]
    assert len(ids) == len(set(ids)) > 7


def test_errors_are_outcomes(client):
    with pytest.raises(OperationOutcome) as error:
        client.resource("Patient", birthDate="tomorrow").save()
    assert "birthDate" in str(error.value)


async def test_the_asynchronous_client(server):
    client = AsyncFHIRClient(server.base, authorization=f"Bearer {server.token}")
    patients = await client.resources("Patient").limit(5).fetch()
    assert len(patients) == 5
    assert await client.resources("Patient").count() > 5
    validated = await client.execute(
        "Patient/$validate", method="POST", data={"resourceType": "Patient", "gender": "unheard-of"}
    )
    assert validated["issue"][0]["severity"] == "error"
