"""A running server and a token for it. UZIMA_URL, UZIMA_CLIENT_ID and UZIMA_CLIENT_SECRET name them."""

import json
import os
import urllib.parse
import urllib.request

import pytest


class Server:
    """The server under test, for requests that no client library makes."""

    def __init__(self, url, token):
        self.url = url
        self.base = f"{url}/fhir/R4"
        self.token = token

    def get(self, path, **headers):
        request = urllib.request.Request(
            f"{self.base}/{path}",
            headers={"Authorization": f"Bearer {self.token}", "Accept": "application/fhir+json", **headers},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def pages(self, path):
        """Every resource of a search, by its next links."""
        bundle = self.get(path)
        while True:
            for entry in bundle.get("entry", []):
                if entry["search"]["mode"] == "match":
                    yield entry["resource"]
            following = [link["url"] for link in bundle.get("link", []) if link["relation"] == "next"]
            if not following:
                return
            bundle = self.get(following[0][len(self.base) + 1 :])


@pytest.fixture(scope="session")
def server():
    url = os.environ["UZIMA_URL"]
    form = urllib.parse.urlencode(
        {
            "grant_type": "client_credentials",
            "client_id": os.environ["UZIMA_CLIENT_ID"],
            "client_secret": os.environ["UZIMA_CLIENT_SECRET"],
            "scope": "system/*.cruds",
        }
    ).encode()
    with urllib.request.urlopen(f"{url}/oauth/token", data=form, timeout=60) as answer:
        return Server(url, json.load(answer)["access_token"])
