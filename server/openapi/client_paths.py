"""Part of the OpenAPI document about clients, keys and access rules."""

from typing import Any, Final

from server.access.route_access import ACCESS, SCOPES, Access
from server.openapi.parts import (
    CURSOR,
    INTEGER,
    LIMIT,
    NEXT,
    RATE_LIMIT,
    RETRY,
    STRING,
    TIME,
    Json,
    an_object,
    answer,
    array,
    operation,
    or_null,
    path_parameter,
    problem,
    ref,
)

SECURITY_SCHEMES: Final[Json] = {
    "bearerKey": {"type": "http", "scheme": "bearer", "description": "An API key, `rk_…`."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "userToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
}
_OBJECT: Final[Json] = {"type": "object"}

_CLIENT_FIELDS: Final[Json] = {
    "clientId": STRING,
    "name": STRING,
    "email": STRING,
    "operator": {"type": "boolean"},
    "disabled": {"type": "boolean"},
    "limits": {"type": "object", "additionalProperties": INTEGER},
    "createdAt": TIME,
}
_USAGE: Final[Json] = {
    "accepted": {**INTEGER, "description": "Notifications that were queued."},
    "published": {**INTEGER, "description": "Publications: for three rooms, three."},
    "delivered": {**INTEGER, "description": "Writes to sockets."},
    "failed": {**INTEGER, "description": "Jobs that expired, or that no worker survived."},
}

SCHEMAS: Final[Json] = {
    "Client": an_object(_CLIENT_FIELDS),
    "OwnClient": an_object(
        {
            **_CLIENT_FIELDS,
            "usage": {
                **array(an_object({"day": {"type": "string", "format": "date"}, **_USAGE})),
                "description": "By UTC day, the last 30, newest first; up to a second or so old.",
            },
            "connections": {**INTEGER, "description": "Registered sockets now, at all gateways."},
            "quota": {
                **an_object({"limit": INTEGER, "left": INTEGER}),
                "description": "Notifications of today (UTC).",
            },
        }
    ),
    "ApiKey": an_object(
        {
            "id": STRING,
            "name": STRING,
            "scopes": array(STRING),
            "createdAt": TIME,
            "expiresAt": or_null(TIME),
            "revokedAt": or_null(TIME),
        }
    ),
    "ShownKey": an_object({"id": STRING, "apiKey": STRING, "warning": STRING}),
    "AuditEvent": an_object(
        {
            "at": TIME,
            "action": STRING,
            "subject": STRING,
            "byClient": or_null(STRING),
            "byKey": or_null(STRING),
            "details": _OBJECT,
        }
    ),
}


def _body(model: str, *, required: bool = True) -> Json:
    content = {"application/json": {"schema": ref(model)}}
    return {"requestBody": {"required": required, "content": content}}


_BODY_REFUSALS: Final[Json] = {
    "413": problem("The body is too large."),
    "415": problem("The Content-Type is not application/json."),
}
_NO_CLIENT: Final[Json] = {"404": problem("There is no such client.")}
_NO_KEY: Final[Json] = {"404": problem("The client has no such key.")}
_KEY: Final = path_parameter("id", "The key.")
_CLIENT: Final = path_parameter("id", "The client.")


def _audit(name: str, summary: str) -> Json:
    page = an_object({"events": array(ref("AuditEvent")), "nextCursor": NEXT})
    return {"get": operation(name, summary, [LIMIT, CURSOR], {"200": answer("A page.", page)},
                             tag="clients")}  # fmt: skip


def client_paths() -> Json:
    """Return the paths of this part."""
    key_set = an_object({"keys": array(_OBJECT)})
    return {
        "/clients": {
            "post": operation(
                "createClient",
                "Make a client application; its first key is shown this once",
                [],
                {
                    "201": answer(
                        "The client, and its key.",
                        an_object(
                            {
                                "clientId": STRING,
                                "name": STRING,
                                "email": STRING,
                                "apiKey": STRING,
                                "createdAt": TIME,
                                "warning": STRING,
                            }
                        ),
                    ),
                    **_BODY_REFUSALS,
                },
                tag="clients",
                more=_body("NewClient"),
            ),
            "get": operation(
                "listClients",
                "All clients in the order in which they were made",
                [LIMIT, CURSOR],
                {
                    "200": answer(
                        "A page.",
                        an_object({"clients": array(ref("Client")), "nextCursor": NEXT}),
                    )
                },
                tag="clients",
            ),
        },
        "/clients/me": {
            "get": operation(
                "getOwnClient",
                "The client whose key this is, and its usage",
                [],
                {"200": answer("The client.", ref("OwnClient")), **_NO_CLIENT},
                tag="clients",
            )
        },
        "/clients/{id}": {
            "get": operation(
                "getClient",
                "One client",
                [_CLIENT],
                {"200": answer("The client.", ref("Client")), **_NO_CLIENT},
                tag="clients",
            ),
            "patch": operation(
                "updateClient",
                "Disable or enable a client, or set its limits",
                [_CLIENT],
                {"200": answer("The client.", ref("Client")), **_NO_CLIENT, **_BODY_REFUSALS},
                tag="clients",
                more=_body("ClientChange"),
            ),
        },
        "/clients/me/keys": {
            "get": operation(
                "listApiKeys",
                "The client's API keys, newest first",
                [],
                {"200": answer("The keys.", an_object({"keys": array(ref("ApiKey"))}))},
                tag="clients",
            ),
            "post": operation(
                "createApiKey",
                "Make an API key with scopes that this key has",
                [],
                {
                    "201": answer("The key, shown this once.", ref("ShownKey")),
                    "409": problem("The client has as many keys as it may have."),
                    **_NO_CLIENT,
                    **_BODY_REFUSALS,
                },
                tag="clients",
                more=_body("NewApiKey"),
            ),
        },
        "/clients/me/keys/{id}/rotate": {
            "post": operation(
                "rotateApiKey",
                "Make a key that takes the place of another one, which ends after an overlap",
                [_KEY],
                {
                    "201": answer("The new key, shown this once.", ref("ShownKey")),
                    "409": problem("The client has as many keys as it may have."),
                    **_NO_KEY,
                    **_BODY_REFUSALS,
                },
                tag="clients",
                more=_body("Rotation"),
            )
        },
        "/clients/me/keys/{id}": {
            "delete": operation(
                "revokeApiKey",
                "Revoke a key: within two seconds no server takes it",
                [_KEY],
                {"204": {"description": "It is revoked."}, **_NO_KEY},
                tag="clients",
            )
        },
        "/clients/me/token-secret/rotate": {
            "post": operation(
                "rotateTokenSecret",
                "Make the secret that user tokens are signed with (HS256)",
                [],
                {
                    "201": answer(
                        "The secret, shown this once.",
                        an_object({"secret": STRING, "algorithm": STRING, "warning": STRING}),
                    ),
                    "409": problem("As many secrets are good as the client may have."),
                    **_NO_CLIENT,
                    **_BODY_REFUSALS,
                },
                tag="clients",
                more=_body("Rotation"),
            )
        },
        "/clients/me/token-keys": {
            "get": operation(
                "getTokenKeys",
                "Public keys that user tokens may be signed by (RS256, EdDSA)",
                [],
                {"200": answer("A JWK set.", key_set)},
                tag="clients",
            ),
            "put": operation(
                "setTokenKeys",
                "Set these public keys",
                [],
                {"200": answer("The JWK set.", key_set), **_NO_CLIENT, **_BODY_REFUSALS},
                tag="clients",
                more=_body("TokenKeys"),
            ),
        },
        "/clients/me/audit": _audit(
            "listOwnAudit", "What was done about this client, newest first"
        ),
        "/audit": _audit("listAudit", "What was done about all clients, newest first"),
        "/tokens": {
            "post": operation(
                "createToken",
                "Make a token for one of the client's users",
                [],
                {
                    "201": answer("The token.", an_object({"token": STRING, "expiresAt": TIME})),
                    "409": problem("Nobody's key was shown, so that there is no client."),
                    **_BODY_REFUSALS,
                },
                tag="clients",
                more=_body("NewToken"),
            )
        },
        "/tickets": {
            "post": operation(
                "createTicket",
                "Make a ticket that opens one event stream or socket, for a page that can send no "
                "headers",
                [],
                {
                    "201": answer(
                        "The ticket, shown this once.",
                        an_object({"ticket": STRING, "expiresAt": TIME}),
                    ),
                    "409": problem("Nobody's key was shown, so that there is no client."),
                    "503": problem("Redis does not answer, or has no room.", retry=True),
                    **_BODY_REFUSALS,
                },
                tag="clients",
                more={
                    "description": "A user shows their token and sends no body, or an empty "
                    "object. An API key names the user and their rooms, as for `POST /tokens`. "
                    "What the ticket opens ends with the token, or after `ttl` seconds.",
                    **_body("NewTicket", required=False),
                },
            )
        },
    }


def say_who(paths: Json) -> None:
    """Add to every operation its access rule and its refusals."""
    for path, operations in paths.items():
        for method, one in operations.items():
            access = ACCESS[method.upper(), path]
            one["security"] = _security(access)
            if access is Access.ANYONE:
                continue
            scopes = " and ".join(f"`{scope}`" for scope in sorted(SCOPES[access]))
            operators = access in (Access.OPERATOR, Access.REGISTRATION)
            needs = f"An API key needs the scope {scopes}" + (
                ", and an operator's client." if operators else "."
            )
            said: str = one.get("description", "")
            one["description"] = f"{said}\n\n{needs}".strip()
            one["responses"] |= {
                "401": {
                    **problem(
                        "Credentials are missing (`detail` says how to send them) or refused."
                    ),
                    "headers": {"WWW-Authenticate": {"schema": STRING}},
                },
                "403": problem("These credentials are not for this."),
                "429": problem(
                    "`rate-limited`: the client sends too many requests per second. "
                    "`quota-exceeded`: it sent as many notifications as it may today (UTC). "
                    "`fan-out-limited`: its notifications for several targets come to too many "
                    "bytes in this second. "
                    "`too-many-failures`: too many credentials from this address were refused; "
                    "this has no `RateLimit-` headers."
                    + (
                        " `too-many-tickets`: the client, or the user, has as many unused tickets "
                        "as there may be."
                        if access is Access.TICKET
                        else ""
                    ),
                    retry=True,
                ),
            }
            one["responses"]["429"]["headers"] = {**RETRY, **RATE_LIMIT}
            if path == "/notify":
                one["responses"]["202"]["headers"] = RATE_LIMIT


def _security(access: Access) -> list[dict[str, list[Any]]]:
    if access is Access.ANYONE:
        return []
    found: list[dict[str, list[Any]]] = [{"bearerKey": []}, {"apiKey": []}]
    if access in (Access.INBOX, Access.TICKET):
        found.append({"userToken": []})
    return found
