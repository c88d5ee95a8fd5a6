"""`server/clients/audit_routes.py`: what was done about clients, for them and for operators."""

from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made
from tests.support.waiting import until


async def test_what_was_done_is_noted_without_secrets(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    await api("POST", "/clients/me/token-secret/rotate", json={}, headers=shop.bearer)
    mine = (await api("GET", "/clients/me/audit", headers=shop.bearer)).body["events"]
    assert [event["action"] for event in mine] == [
        "token-secret-rotated", "key-added", "client-created",
    ]  # fmt: skip
    assert {event["subject"] for event in mine} == {shop.id}
    assert mine[0]["byClient"] == shop.id
    everything = await api("GET", "/audit", headers={"x-api-key": auth_stack.operator})
    assert {shop.id, bank.id} <= {event["subject"] for event in everything.body["events"]}
    assert shop.key not in everything.text

    def told() -> bool:
        # It is an event as well, which the history writer has seen.
        name = "roomcast_history_events_total"
        return auth_stack.metric("history-1", name, kind="audit") >= 3

    await until(told)
    for name in auth_stack.processes:
        log = auth_stack.processes[name].log.read_text()
        assert shop.key not in log
        assert auth_stack.operator not in log


async def test_a_client_reads_its_own_log_page_by_page(api: Api, shop: Made, bank: Made) -> None:
    for name in ("a", "b"):
        body = {"name": name, "scopes": ["read"]}
        await api("POST", "/clients/me/keys", json=body, headers=shop.bearer)
    await api("POST", "/clients/me/token-secret/rotate", json={}, headers=bank.bearer)
    everything = (await api("GET", "/clients/me/audit", headers=shop.bearer)).body
    assert [event["action"] for event in everything["events"]] == [
        *["key-added"] * 3, "client-created",
    ]  # fmt: skip
    assert everything["nextCursor"] is None
    found, cursor = [], None
    for _ in range(2):
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await api("GET", "/clients/me/audit", headers=shop.bearer, params=query)).body
        found += page["events"]
        cursor = page["nextCursor"]
    assert found == everything["events"]
    assert cursor is None


async def test_an_event_says_who_did_it(api: Api, auth_stack: AuthStack, shop: Made) -> None:
    operator = {"x-api-key": auth_stack.operator}
    await api("PATCH", f"/clients/{shop.id}", json={"limits": {"recipients": 5}}, headers=operator)
    newest = (await api("GET", "/clients/me/audit", headers=shop.bearer)).body["events"][0]
    me = (await api("GET", "/clients/me", headers=operator)).body
    assert (newest["subject"], newest["byClient"]) == (shop.id, me["clientId"])
    keys = (await api("GET", "/clients/me/keys", headers=operator)).body["keys"]
    assert newest["byKey"] in {key["id"] for key in keys}
    assert newest["details"]["limits"] == {"recipients": 5}


async def test_a_cursor_that_is_none_is_refused(api: Api, shop: Made) -> None:
    answer = await api("GET", "/clients/me/audit?cursor=x", headers=shop.bearer)
    assert (answer.status, answer.body["code"]) == (422, "invalid"), answer
