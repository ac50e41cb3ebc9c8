"""Schemathesis: requests made from the OpenAPI document, right and wrong ones, as every kind of staff and as nobody.

Whatever comes in, the answer is one that the document describes, never a 5xx, and never what the caller may not have."""

import json
import os
import urllib.request

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

URL = os.environ["UZIMA_URL"]
EXAMPLES = int(os.environ.get("UZIMA_TEST_API_EXAMPLES", "25"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# They would end the session that the other requests run in.
ENDS_SESSION = r"/auth/(logout|change-password|refresh-token)$"

schema = schemathesis.openapi.from_url(f"{URL}/api/v1/openapi.json").exclude(path_regex=ENDS_SESSION)


def sign_in(login):
    body = json.dumps({"login": login, "password": os.environ["UZIMA_PASSWORD"]}).encode()
    request = urllib.request.Request(
        f"{URL}/api/v1/auth/login?token=true", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["token"]


@pytest.fixture(scope="session")
def tokens():
    logins = ["admin", "reception", "cashier", os.environ["UZIMA_DOCTOR"]]
    return [None, *(sign_in(login) for login in logins)]


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_api(case, tokens):
    for token in tokens:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        case.call_and_validate(headers=headers, checks=CHECKS, timeout=30)
