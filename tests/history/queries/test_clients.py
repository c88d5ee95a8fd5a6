"""Client applications, changed in one place: a real database."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from common.auth.api_keys import is_key
from common.auth.client_records import ClientLimits, ClientRecord, Scope
from history.queries.clients import (
    Actor,
    change,
    find_client,
    jwks_of,
    list_audit,
    list_clients,
    list_keys,
    new_client_id,
    records,
)

OPS = Actor("ops", "k1")
READ = [Scope.READ]


async def make(connection: Any, name: str = "Shop", *, operator: bool = False) -> str:
    client = new_client_id()
    async with change(connection, OPS, client) as edit:
        await edit.make(name, "shop@example.com", operator=operator)
    return client


async def record(connection: Any, client: str) -> ClientRecord:
    (found,) = await records(connection, only=client)
    return found


async def test_a_new_client_is_found_and_known_to_all_processes(connection: Any) -> None:
    client = await make(connection, operator=True)
    found = await find_client(connection, client)
    assert found is not None
    assert (found.name, found.email, found.operator, found.disabled, found.limits) == (
        *("Shop", "shop@example.com", True, False), {},
    )  # fmt: skip
    known = await record(connection, client)
    assert (known.id, known.name, known.operator, known.keys) == (client, "Shop", True, ())
    # Its tokens can be signed from the beginning.
    (secret,) = known.secrets
    assert len(secret.text) == 43
    assert secret.expires_ms == 0
    assert await find_client(connection, "nobody") is None


async def test_a_key_is_kept_as_its_digest_only(connection: Any) -> None:
    client = await make(connection)
    async with change(connection, OPS, client) as edit:
        key = await edit.add_key("till", [Scope.READ, Scope.NOTIFY], None)
    (known,) = (await record(connection, client)).keys
    assert (known.id, known.expires_ms) == (key.id, 0)
    assert known.scopes == {Scope.NOTIFY, Scope.READ}
    assert is_key(key.text, known.digest)
    (listed,) = await list_keys(connection, client)
    assert (listed.name, listed.scopes, listed.revoked) == ("till", ["notify", "read"], None)
    everything = await connection.fetch(
        "SELECT k::text FROM api_keys k UNION SELECT a::text FROM audit a"
    )
    assert not any(key.text in row[0] for row in everything)


async def test_a_key_ends_at_once_or_after_a_while_and_never_later_than_it_would(
    connection: Any,
) -> None:
    client = await make(connection)
    soon = datetime.now(UTC) + timedelta(seconds=50)
    async with change(connection, OPS, client) as edit:
        now, later, sooner = [
            (await edit.add_key(name, READ, expires)).id
            for name, expires in (("now", None), ("later", None), ("sooner", soon))
        ]
        assert await edit.count_keys() == 3
        await edit.end_key(now, 0)
        await edit.end_key(later, 100)
        await edit.end_key(sooner, 100)
        assert await edit.count_keys() == 2
        assert await edit.find_key(now) is None
        assert await edit.find_key(later) is not None
        assert await edit.find_key("unknown") is None
    ends = {key.id: key.expires_ms / 1000 for key in (await record(connection, client)).keys}
    assert ends.keys() == {later, sooner}
    assert ends[later] == pytest.approx(time.time() + 100, abs=20)
    assert ends[sooner] == pytest.approx(soon.timestamp(), abs=0.01)
    revoked = {key.id: key.revoked is not None for key in await list_keys(connection, client)}
    assert revoked == {now: True, later: False, sooner: False}


async def test_a_key_of_another_client_cannot_be_ended(connection: Any) -> None:
    mine, theirs = [await make(connection) for _ in range(2)]
    async with change(connection, OPS, theirs) as edit:
        key = await edit.add_key("till", READ, None)
    async with change(connection, OPS, mine) as edit:
        await edit.end_key(key.id, 0)
        assert await edit.find_key(key.id) is None
    assert len((await record(connection, theirs)).keys) == 1


async def test_tokens_are_signed_with_the_newest_secret_and_read_with_the_old_ones_for_a_while(
    connection: Any,
) -> None:
    client = await make(connection)
    (first,) = (await record(connection, client)).secrets
    async with change(connection, OPS, client) as edit:
        second = await edit.add_secret(60)
        third = await edit.add_secret(600)
        assert await edit.count_secrets() == 3
    found = (await record(connection, client)).secrets
    assert [secret.text for secret in found][:1] == [third]
    ends = {secret.text: secret.expires_ms / 1000 for secret in found}
    assert ends[third] == 0
    # It is not put off by the next rotation.
    assert ends[first.text] == pytest.approx(time.time() + 60, abs=20)
    assert ends[second] == pytest.approx(time.time() + 600, abs=20)
    async with change(connection, OPS, client) as edit:
        last = await edit.add_secret(0)
    assert [secret.text for secret in (await record(connection, client)).secrets] == [last]


async def test_what_is_not_said_stays_as_it_was(connection: Any) -> None:
    client = await make(connection)
    async with change(connection, OPS, client) as edit:
        assert await edit.alter(None, ClientLimits(connections=5))
        assert await edit.alter(True, None)
        await edit.set_jwks([{"kty": "RSA", "kid": "1"}])
    known = await record(connection, client)
    assert (known.disabled, known.limits) == (True, ClientLimits(connections=5))
    assert known.jwks == ({"kty": "RSA", "kid": "1"},)
    assert await jwks_of(connection, client) == [{"kty": "RSA", "kid": "1"}]
    async with change(connection, OPS, client) as edit:
        assert await edit.alter(False, ClientLimits())
    known = await record(connection, client)
    assert (known.disabled, known.limits) == (False, ClientLimits())
    async with change(connection, OPS, "nobody") as edit:
        assert not await edit.alter(True, None)
        assert await edit.finish() is None
        assert edit.events == []


async def test_a_change_that_fails_changes_and_notes_nothing(connection: Any) -> None:
    client = await make(connection)
    before = await record(connection, client)

    async def fail() -> None:
        async with change(connection, OPS, client) as edit:
            await edit.add_key("till", READ, None)
            await edit.finish()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await record(connection, client) == before
    assert [event.action for event in await list_audit(connection, client, None, 9)] == [
        "client-created"
    ]


async def test_one_change_waits_for_another_of_any_client(connection: Any, url: str) -> None:
    mine, theirs = [await make(connection) for _ in range(2)]
    done: list[str] = []
    other = await asyncpg.connect(url)

    async def alter() -> None:
        async with change(other, OPS, theirs) as edit:
            await edit.finish()
            done.append("theirs")

    async with change(connection, OPS, mine) as edit:
        waiting = asyncio.create_task(alter())
        await asyncio.sleep(0.2)
        await edit.finish()
        done.append("mine")
    await waiting
    await other.close()
    # Or the later version could be seen before the earlier one.
    assert done == ["mine", "theirs"]
    versions = [(await record(connection, client)).version for client in (mine, theirs)]
    assert versions == sorted(versions)


async def test_whoever_has_seen_a_version_has_seen_all_below_it(connection: Any, url: str) -> None:
    clients = [await make(connection) for _ in range(3)]
    ((seen,),) = await connection.fetch("SELECT max(version) FROM clients")
    others = [await asyncpg.connect(url) for _ in clients]

    async def alter(other: Any, client: str) -> None:
        for number in range(10):
            async with change(other, OPS, client) as edit:
                await edit.alter(bool(number % 2), None)
                await edit.finish()

    working = asyncio.gather(*map(alter, others, clients))
    last: dict[str, int] = {}
    while not working.done():
        for found in await records(connection, above=seen):
            # One that comes late, below what was seen, would never be read.
            assert found.version > seen
            last[found.id] = seen = found.version
    await working
    for found in await records(connection, above=seen):
        last[found.id] = found.version
    assert last == {client: (await record(connection, client)).version for client in clients}
    for other in others:
        await other.close()


async def test_what_was_done_is_listed_newest_first_and_in_pages(connection: Any) -> None:
    client = await make(connection)
    async with change(connection, Actor(), client) as edit:
        key = await edit.add_key("till", READ, None)
        await edit.end_key(key.id, 0)
        assert [event.action for event in edit.events] == ["key-added", "key-revoked"]
    found = await list_audit(connection, client, None, 9)
    assert [event.action for event in found] == ["key-revoked", "key-added", "client-created"]
    assert [event.actor for event in found] == [Actor(), Actor(), OPS]
    assert found[1].details == {"key": key.id, "name": "till", "scopes": ["read"]}
    assert await list_audit(connection, client, None, 1) == found[:1]
    assert await list_audit(connection, client, found[0].number, 9) == found[1:]
    assert (await list_audit(connection, None, None, 1))[0] == found[0]


@pytest.mark.parametrize("limit", [1, 3])
async def test_clients_come_in_pages_in_the_order_in_which_they_were_made(
    connection: Any, limit: int
) -> None:
    made = [await make(connection, f"client {number}") for number in range(4)]
    # Two in the same millisecond.
    await connection.execute(
        "UPDATE clients SET created_at = '2026-01-01T00:00:00.0005Z' WHERE id = ANY($1)", made[:2]
    )
    found: list[str] = []
    after = None
    while page := await list_clients(connection, after, limit):
        assert len(page) <= limit
        found += [client.id for client in page]
        milliseconds = page[-1].created.microsecond // 1000 * 1000
        after = page[-1].created.replace(microsecond=milliseconds), page[-1].id
    assert len(found) == len(set(found))
    assert [client for client in found if client in made] == [*sorted(made[:2]), *made[2:]]
