"""The package authlib: https://docs.authlib.org/en/latest/oauth2/client/http/index.html.

It takes httpx2, and httpx where httpx2 is missing: as with AUTHLIB_FAMILY=httpx.
"""

from __future__ import annotations

import os
import sys

import pytest

if os.environ.get("AUTHLIB_FAMILY") == "httpx":
    sys.modules["httpx2"] = None

from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuth2Client

from trimtab import RetryPolicy

pytestmark = pytest.mark.anyio
TOKEN = "http://login/token"
KINDS = pytest.mark.parametrize("scope", ["offline", None], ids=["refresh", "credentials"])
# A token may be asked for twice. What was sent is repeated only if one says so.
POST_TOO = RetryPolicy(methods={"GET", "HEAD", "POST"})


def options(transport, scope):
    return {
        "client_id": "me",
        "client_secret": "secret",
        "scope": scope,
        "token_endpoint": TOKEN,
        "grant_type": "client_credentials",
        "leeway": 0,
        "transport": transport,
    }


def test_the_family_is_the_one_that_was_asked_for():
    family = os.environ.get("AUTHLIB_FAMILY", "httpx2")
    assert OAuth2Client.__mro__[2].__module__.partition(".")[0] == family


@KINDS
def test_tokens_are_renewed_while_an_instance_dies(fleet, scope):
    def ask(_):
        response = client.get("http://orders/guarded")
        assert response.status_code == 200, response.text
        return response.json()["token"]

    with fleet.balanced(retry=POST_TOO) as transport:
        with OAuth2Client(**options(transport, scope)) as client:
            client.fetch_token()
            tokens = {ask(number) for number in range(10)}
            fleet.kill()
            for _ in range(1500):
                tokens.add(ask(0))
                if len(tokens) >= 3:
                    break
        assert len(tokens) >= 3, "it was renewed twice"


@KINDS
async def test_asynchronous_calls_renew_them_too(fleet, scope):
    async def ask(_):
        for _ in range(5):
            response = await client.get("http://orders/guarded")
            assert response.status_code == 200, response.text
        return response.json()["token"]

    with fleet.balanced(retry=POST_TOO) as transport:
        async with AsyncOAuth2Client(**options(transport, scope)) as client:
            await client.fetch_token()
            assert len(set(await fleet.async_calls(ask))) >= 2
