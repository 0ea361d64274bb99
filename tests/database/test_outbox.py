"""What waits to be sent is sent once by whoever gets it, again when it failed, and never lost."""

import asyncio
from collections import Counter
from uuid import UUID

import asyncpg
import pytest

from engine.core.database import Database, Transaction
from engine.domains import notifications
from engine.domains.notifications import (
    Attempt,
    Claim,
    DeliveryDelayed,
    DeliveryRefused,
    DeliveryUnknown,
)
from tests.postal import (
    SEAL,
    KeepingCourier,
    becomes_true,
    eventually,
    hasten,
    hurry,
    office,
    own_channel,
    working,
)
from tests.world import Firm, Person, World


@pytest.fixture
async def firm(world: World) -> Firm:
    return await world.organization()


@pytest.fixture
async def ivan(world: World, firm: Firm, database: Database) -> Person:
    ivan = await world.user(firm, "ivan")
    await hurry(database, ivan)
    return ivan


async def send_test(database: Database, person: Person) -> None:
    """Let a letter wait for a person."""
    channel_id = await own_channel(database, person.actor, "email")
    async with database.as_organization(person.org_id) as tx:
        await notifications.send_test(tx, person.actor, office=office("email"), channel_id=channel_id)


async def claim(database: Database, *, lease_seconds: float = 90) -> list[Claim]:
    async with database.across_organizations(reason="a test's sender") as across:
        return await notifications.claim(across, kind="email", count=50, lease_seconds=lease_seconds)


async def log_of(database: Database, person: Person) -> list[Attempt]:
    async with database.as_organization(person.org_id) as tx:
        page = await notifications.list_attempts(tx, person.actor, everybody=False, before=None, limit=100)
    return page[::-1]


async def outcomes(database: Database, person: Person) -> list[str]:
    return [attempt.outcome for attempt in await log_of(database, person)]


async def test_senders_side_by_side_send_everything_once(
    world: World, database: Database, firm: Firm, ivan: Person
) -> None:
    people = [ivan, *[await world.user(firm) for _ in range(11)]]
    couriers = [KeepingCourier() for _ in range(3)]
    for person in people:
        for _ in range(5):
            await send_test(database, person)

    async with (
        working(database, couriers[0]),
        working(database, couriers[1]),
        working(database, couriers[2]),
    ):
        await eventually(lambda: sum(len(courier.notes) for courier in couriers) >= 60)
        await asyncio.sleep(0.3)

    sent = Counter(note.delivery_id for courier in couriers for note in courier.notes)
    assert len(sent) == 60
    assert set(sent.values()) == {1}


async def test_what_fails_is_tried_again_later_and_the_log_tells_each_try(
    database: Database, ivan: Person, database_url: str
) -> None:
    mail = KeepingCourier()
    mail.failures.extend([DeliveryDelayed("451 greylisted"), DeliveryDelayed("no answer")])
    await send_test(database, ivan)

    async with working(database, mail):
        for tries in (1, 2):
            await becomes_true(
                database_url, f"SELECT status = 'queued' AND attempts = {tries} FROM deliveries"
            )
            await hasten(database, database_url)
        await eventually(lambda: bool(mail.notes))
        await becomes_true(database_url, "SELECT status = 'sent' FROM deliveries")

    log = await log_of(database, ivan)
    assert [(each.outcome, each.detail) for each in log] == [
        ("delayed", "451 greylisted"),
        ("delayed", "no answer"),
        ("sent", None),
    ]
    assert [each.fence for each in log] == [1, 2, 3]


async def test_what_a_provider_wishes_stops_everything_for_that_channel(
    database: Database, ivan: Person, database_url: str
) -> None:
    mail = KeepingCourier()
    mail.failures.append(DeliveryDelayed("slow down", retry_after_seconds=40))
    await send_test(database, ivan)
    async with working(database, mail):
        await becomes_true(database_url, "SELECT attempts = 1 AND status = 'queued' FROM deliveries")
        await send_test(database, ivan)
        await send_test(database, ivan)
        await asyncio.sleep(0.6)

        assert mail.notes == []
        await becomes_true(database_url, "SELECT min(due_at) > now() + interval '35 s' FROM deliveries")
        await hasten(database, database_url)
        await eventually(lambda: len(mail.notes) == 3)


async def test_an_attempt_that_nobody_ended_counts_as_unknown_and_is_made_again(
    database: Database, ivan: Person, database_url: str
) -> None:
    await send_test(database, ivan)
    (lost,) = await claim(database)  # Its process is killed here.
    assert await claim(database) == []
    await hasten(database, database_url)

    (again,) = await claim(database)
    async with database.as_organization(ivan.org_id) as tx:
        assert await notifications.prepare(tx, again, seal=SEAL) is not None
        assert await notifications.record_sent(tx, again, provider_id="2")
    async with database.as_organization(ivan.org_id) as tx:
        assert not await notifications.record_sent(tx, lost, provider_id="1")
        await notifications.record_failure(tx, lost, DeliveryRefused("a late process ends nothing"))

    assert (again.fence, again.lost_fence) == (2, 1)
    assert await outcomes(database, ivan) == ["unknown", "sent"]
    owner = await asyncpg.connect(database_url)
    row = await owner.fetchrow("SELECT status, unknowns, provider_id FROM deliveries")
    await owner.close()
    assert row is not None
    assert dict(row) == {"status": "sent", "unknowns": 1, "provider_id": "2"}


async def test_what_may_have_arrived_three_times_is_not_sent_a_fourth(
    database: Database, ivan: Person, database_url: str
) -> None:
    mail = KeepingCourier()
    mail.failures.extend([DeliveryUnknown("no acknowledgement")] * 5)
    await send_test(database, ivan)

    async with working(database, mail):
        for tries in (1, 2):
            await becomes_true(
                database_url, f"SELECT status = 'queued' AND attempts = {tries} FROM deliveries"
            )
            await hasten(database, database_url)
        await becomes_true(database_url, "SELECT status = 'dead' AND unknowns = 3 FROM deliveries")

    assert await outcomes(database, ivan) == ["unknown"] * 3
    assert len(mail.failures) == 2


async def test_a_channel_that_refuses_for_good_is_left_for_the_next_one(
    world: World, database: Database, firm: Firm, ivan: Person, database_url: str
) -> None:
    mail, hook = KeepingCourier("email"), KeepingCourier("webhook")
    mail.failures.append(DeliveryRefused("550 no such user", breaks_channel=True))
    async with database.as_organization(firm.id) as tx:
        await notifications.add_channel(
            tx,
            ivan.actor,
            office=office(),
            kind="webhook",
            address="https://hooks.example/1",
            priority=10,
            patience_seconds=86400,
        )
        email = next(
            each for each in await notifications.list_channels(tx, ivan.actor) if each.kind == "email"
        )
        changes = notifications.ChannelChanges(patience_seconds=86400)
        await notifications.change_channel(tx, ivan.actor, channel_id=email.id, changes=changes)

    async with working(database, mail, hook):
        await world.post(firm.admin, await world.chat(firm.admin, ivan), "@ivan, важное")
        await eventually(lambda: bool(hook.notes))

    assert hook.headlines() == ["Ann упоминает вас в чате «Кадры»"]
    async with database.as_organization(firm.id) as tx:
        email = next(
            each for each in await notifications.list_channels(tx, ivan.actor) if each.kind == "email"
        )
    assert email.broken_code == "550 no such user"


async def test_an_admin_lets_a_dead_letter_be_tried_again(
    database: Database, firm: Firm, ivan: Person, database_url: str
) -> None:
    mail = KeepingCourier()
    mail.failures.append(DeliveryRefused("550 no such user", breaks_channel=True))
    await send_test(database, ivan)

    async with working(database, mail):
        await becomes_true(database_url, "SELECT status = 'dead' FROM deliveries")
        async with database.as_organization(firm.id) as tx:
            (dead,) = await notifications.list_dead_letters(tx, firm.admin.actor, before=None, limit=10)
            assert (dead.user_id, dead.failure) == (ivan.id, "550 no such user")
            await notifications.replay(tx, firm.admin.actor, delivery_id=dead.id)
        await eventually(lambda: bool(mail.notes))
        await becomes_true(database_url, "SELECT status = 'sent' FROM deliveries")

    async with database.as_organization(firm.id) as tx:
        with pytest.raises(notifications.DeadLetterNotFound):
            await notifications.replay(tx, firm.admin.actor, delivery_id=dead.id)
    assert await outcomes(database, ivan) == ["refused", "sent"]


async def test_a_long_message_goes_on_where_it_was_interrupted(
    database: Database, ivan: Person, database_url: str
) -> None:
    mail = KeepingCourier(parts=4)

    async def vanish() -> None:
        raise DeliveryDelayed("the line broke")

    async def pass_on() -> None:
        """Nothing happens to this one."""

    mail.failures.extend([pass_on, pass_on, vanish])
    await send_test(database, ivan)

    async with working(database, mail):
        await becomes_true(database_url, "SELECT status = 'queued' AND attempts = 1 FROM deliveries")
        await hasten(database, database_url)
        await becomes_true(database_url, "SELECT status = 'sent' FROM deliveries")

    assert [place for _, place in mail.kept] == [1, 2, 3, 4]


async def test_no_transaction_is_open_while_something_is_on_its_way(
    database: Database, ivan: Person, database_url: str
) -> None:
    seen: list[int] = []
    mail = KeepingCourier()

    async def look() -> None:
        owner = await asyncpg.connect(database_url)
        seen.append(
            await owner.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND xact_start IS NOT NULL AND application_name = 'rugpt' AND state <> 'active'"
            )
        )
        await owner.close()

    mail.failures.append(look)
    await send_test(database, ivan)

    async with working(database, mail):
        await eventually(lambda: bool(mail.notes))

    assert seen == [0]


async def test_a_code_is_unreadable_at_rest_and_gone_once_it_was_sent(
    database: Database, ivan: Person, database_url: str
) -> None:
    mail = KeepingCourier()
    async with database.as_organization(ivan.org_id) as tx:
        added = await notifications.add_channel(
            tx, ivan.actor, office=office("email"), kind="email", address="other@example.com"
        )
    owner = await asyncpg.connect(database_url)
    at_rest = str(await owner.fetch("SELECT * FROM deliveries")) + str(
        await owner.fetch("SELECT * FROM notification_channels")
    )

    async with working(database, mail):
        await eventually(lambda: bool(mail.notes))
        await becomes_true(database_url, "SELECT sealed IS NULL AND status = 'sent' FROM deliveries")

    await owner.close()
    (note,) = mail.notes
    assert note.code is not None
    assert note.code not in at_rest
    async with database.as_organization(ivan.org_id) as tx:
        wrong = f"{(int(note.code) + 1) % 10**8:08}"
        assert await notifications.verify(tx, ivan.actor, channel_id=added.channel.id, code=wrong) is None
        right = await notifications.verify(tx, ivan.actor, channel_id=added.channel.id, code=note.code)
        assert right is not None
        assert right.verified_at is not None


async def test_five_wrong_codes_are_enough(database: Database, ivan: Person) -> None:
    mail = KeepingCourier()
    async with database.as_organization(ivan.org_id) as tx:
        added = await notifications.add_channel(
            tx, ivan.actor, office=office("email"), kind="email", address="other@example.com"
        )
    async with working(database, mail):
        await eventually(lambda: bool(mail.notes))
    code = mail.notes[0].code
    assert code is not None

    async with database.as_organization(ivan.org_id) as tx:
        for guess in range(5):
            assert await _verify(tx, ivan, added.channel.id, f"{guess:08}") is None

        assert await _verify(tx, ivan, added.channel.id, code) is None
        with pytest.raises(notifications.CodeSentRecently):
            await notifications.begin_verification(
                tx, ivan.actor, office=office("email"), channel_id=added.channel.id
            )


async def _verify(tx: Transaction, person: Person, channel_id: UUID, code: str) -> object:

    return await notifications.verify(tx, person.actor, channel_id=channel_id, code=code)
