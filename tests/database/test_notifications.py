"""People are told what waits for them: once, by their channels in turn, and never what is not theirs."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from engine.core.database import Database
from engine.domains import approvals, chats, notifications, users
from engine.domains.approvals import Verdict
from engine.domains.calendar import EventFired, FiringFailed
from engine.domains.notifications import ChannelChanges, DeliveryDelayed, Notification, Tiding
from engine.domains.users import UserChanges
from tests.postal import KeepingCourier, becomes_true, eventually, hasten, hurry, office, own_channel, working
from tests.world import Firm, Person, World, failed


async def inbox(
    database: Database, person: Person, *, unread: bool = True
) -> list[tuple[Notification, Tiding | None]]:
    async with database.as_organization(person.org_id) as tx:
        return await notifications.list_notifications(tx, person.actor, unread=unread, before=None, limit=50)


async def kinds(database: Database, person: Person) -> list[str]:
    return [notification.kind for notification, _ in await inbox(database, person)]


@pytest.fixture
async def firm(world: World) -> Firm:
    return await world.organization()


@pytest.fixture
async def ivan(world: World, firm: Firm) -> Person:
    return await world.user(firm, "ivan")


async def test_whoever_is_named_is_told_and_nobody_else(
    world: World, database: Database, firm: Firm, ivan: Person
) -> None:
    boris = await world.user(firm, "boris")
    chat_id = await world.chat(firm.admin, ivan, boris)

    posted = await world.post(firm.admin, chat_id, "@ivan и @ann, посмотрите договор")

    ((told, words),) = await inbox(database, ivan)
    assert (told.kind, told.message_id, told.chat_id) == ("mention", posted.message.id, chat_id)
    assert words is not None
    assert words.headline == "Ann упоминает вас в чате «Кадры»"
    assert words.body == "@ivan и @ann, посмотрите договор"
    assert await inbox(database, boris) == await inbox(database, firm.admin) == []


async def test_a_notification_becomes_true_with_its_cause_or_not_at_all(
    world: World, database: Database, firm: Firm, ivan: Person
) -> None:
    chat_id = await world.chat(firm.admin, ivan)

    with pytest.raises(RuntimeError, match="not after all"):
        await _post_and_fail(database, firm.admin, chat_id)

    assert await inbox(database, ivan) == []


async def _post_and_fail(database: Database, person: Person, chat_id: UUID) -> None:
    from tests.unit.scripted_model import SHIPPED

    async with database.as_organization(person.org_id) as tx:
        await chats.post_message(tx, person.actor, chat_id=chat_id, content="@ivan!", known_roles=SHIPPED)
        raise RuntimeError("not after all")


async def test_those_who_may_sign_are_told_of_a_draft_until_somebody_has(
    world: World, database: Database, firm: Firm, ivan: Person
) -> None:
    boss = await world.user(firm, "boss")
    chat_id = await world.chat(ivan)

    message_id = await world.draft(ivan, chat_id, "Можно.", approvers=["Boss", "admins"])

    assert await kinds(database, boss) == await kinds(database, firm.admin) == ["draft"]
    assert await kinds(database, ivan) == []
    (_, words), *_ = await inbox(database, boss)
    assert words is not None
    assert (words.body, words.may_sign) == ("Можно.", True)

    async with database.as_organization(firm.id) as tx:
        await approvals.decide(tx, boss.actor, message_id=message_id, verdict=Verdict.APPROVE)
    assert await kinds(database, boss) == await kinds(database, firm.admin) == []


async def test_where_every_member_may_sign_only_who_asked_is_told(
    world: World, database: Database, firm: Firm, ivan: Person
) -> None:
    chat_id = await world.chat(ivan, firm.admin)

    await world.draft(ivan, chat_id, approvers=["members"])

    assert await kinds(database, ivan) == ["draft"]
    assert await kinds(database, firm.admin) == []


async def test_who_asked_is_told_that_there_will_be_no_answer(
    world: World, database: Database, firm: Firm, ivan: Person
) -> None:
    chat_id = await world.chat(ivan, firm.admin)
    await world.ask(ivan, chat_id)
    (claim,) = await world.claim()

    await world.finish(failed(claim))

    ((told, words),) = await inbox(database, ivan)
    assert told.kind == "run_failed"
    assert words is not None
    assert words.headline == "@@lawyer не смог ответить в чате «Кадры»"


async def test_the_people_of_an_event_are_told_when_it_comes_round_and_its_owner_when_it_fails(
    world: World, database: Database, firm: Firm, ivan: Person
) -> None:
    chat_id = await world.chat(firm.admin, ivan)
    fired = EventFired(
        event_id=uuid4(),
        firing_id=uuid4(),
        title="Табель",
        text="Сдайте табель.",
        chat_id=chat_id,
        message_id=None,
        role_code=None,
        owner_id=firm.admin.id,
        notify=(ivan.id,),
        occurs_at=datetime(2026, 11, 27, 7, 0, tzinfo=UTC),
        timezone="Europe/Moscow",
    )
    broke = FiringFailed(
        fired.event_id, uuid4(), "Табель", firm.admin.id, chat_id, "model_unavailable", "нет связи", True
    )

    async with database.as_organization(firm.id) as tx:
        await tx.emit(fired)
        await tx.emit(fired)  # Somebody's second try: nobody is told twice.
        await tx.emit(broke)

    ((_, event),) = await inbox(database, ivan)
    ((_, failure),) = await inbox(database, firm.admin)
    assert event is not None
    assert (event.headline, event.body) == ("Табель: 27.11.2026 10:00", "Сдайте табель.")
    assert failure is not None
    assert failure.headline == "Событие «Табель» не выполнено"
    assert "приостановлено" in failure.body


async def test_reading_the_chat_reads_what_it_told_of_but_signs_no_draft(
    world: World, database: Database, firm: Firm, ivan: Person
) -> None:
    chat_id = await world.chat(firm.admin, ivan)
    await world.post(firm.admin, chat_id, "@ivan, привет")
    await world.draft(ivan, chat_id)

    async with database.as_organization(firm.id) as tx:
        await chats.mark_read(tx, ivan.actor, chat_id=chat_id, up_to_no=None)

    assert await kinds(database, ivan) == ["draft"]


async def test_one_marks_ones_own_as_read_and_nobody_elses(
    world: World, database: Database, firm: Firm, ivan: Person
) -> None:
    chat_id = await world.chat(firm.admin, ivan)
    for number in range(3):
        await world.post(firm.admin, chat_id, f"@ivan, {number}")
    ids = [notification.id for notification, _ in await inbox(database, ivan)]

    async with database.as_organization(firm.id) as tx:
        assert await notifications.mark_read(tx, firm.admin.actor, ids=ids) == []
        assert await notifications.mark_read(tx, ivan.actor, ids=ids[:1]) == ids[:1]
        assert await notifications.count_unread(tx, ivan.actor) == 2
        assert set(await notifications.mark_read(tx, ivan.actor, ids=None)) == set(ids[1:])
    assert await inbox(database, ivan) == []
    assert len(await inbox(database, ivan, unread=False)) == 3


async def test_the_persons_stream_hears_of_what_is_new_and_of_what_is_read(
    world: World, database: Database, firm: Firm, ivan: Person, database_url: str
) -> None:
    chat_id = await world.chat(firm.admin, ivan)

    await world.post(firm.admin, chat_id, "@ivan, тайна")
    async with database.as_organization(firm.id) as tx:
        await notifications.mark_read(tx, ivan.actor, ids=None)

    owner = await asyncpg.connect(database_url)
    rows = await owner.fetch(
        "SELECT kind, data::text FROM events WHERE channel = $1 AND kind LIKE 'notification.%' ORDER BY no",
        ivan.id,
    )
    await owner.close()
    assert [row["kind"] for row in rows] == ["notification.created", "notification.read"]
    assert "тайна" not in str(rows)


async def test_everybody_has_the_client_and_the_mail_of_their_account(
    database: Database, firm: Firm, ivan: Person
) -> None:
    async with database.as_organization(firm.id) as tx:
        theirs = await notifications.list_channels(tx, ivan.actor)
        assert [(each.kind, each.address, each.verified_at is not None) for each in theirs] == [
            ("in_app", None, True),
            ("email", "ivan@example.com", True),
        ]
        await users.update_user(
            tx, firm.admin.actor, user_id=ivan.id, changes=UserChanges(email="vanya@example.com")
        )
        theirs = await notifications.list_channels(tx, ivan.actor)
        assert theirs[1].address == "vanya@example.com"

        await notifications.remove_channel(tx, ivan.actor, channel_id=theirs[1].id)
        assert [each.kind for each in await notifications.list_channels(tx, ivan.actor)] == ["in_app"]
        back = await notifications.add_channel(
            tx, ivan.actor, office=office("email"), kind="email", address="VANYA@example.com"
        )
        assert back.channel.id == theirs[1].id


async def test_an_unread_one_goes_to_mail_and_a_read_one_does_not(
    world: World, database: Database, firm: Firm, ivan: Person
) -> None:
    mail = KeepingCourier()
    chat_id = await world.chat(firm.admin, ivan)
    await hurry(database, ivan)
    await hurry(database, firm.admin, patience_seconds=600)

    async with working(database, mail):
        await world.post(ivan, chat_id, "@ann, взгляните")
        await world.post(firm.admin, chat_id, "@ivan, тоже")
        await eventually(lambda: bool(mail.notes))

    (note,) = mail.notes
    assert note.address == "ivan@example.com"
    assert mail.headlines() == ["Ann упоминает вас в чате «Кадры»"]


async def test_what_was_deleted_or_left_meanwhile_is_not_sent(
    world: World, database: Database, firm: Firm, ivan: Person
) -> None:
    mail = KeepingCourier()
    chat_id, other = await world.chat(firm.admin, ivan), await world.chat(firm.admin, ivan)
    await hurry(database, ivan)
    deleted = await world.post(firm.admin, chat_id, "@ivan, нет")
    await world.post(firm.admin, other, "@ivan, и тут нет")
    async with database.as_organization(firm.id) as tx:
        await chats.delete_message(tx, firm.admin.actor, message_id=deleted.message.id)
        await chats.remove_member(tx, firm.admin.actor, chat_id=other, user_id=ivan.id)
    await world.post(firm.admin, chat_id, "@ivan, да")

    async with working(database, mail):
        await eventually(lambda: bool(mail.notes))

    assert [tiding.body for note in mail.notes for tiding in note.tidings] == ["@ivan, да"]
    outcomes = await log_of(database, ivan)
    assert sorted(outcomes) == ["dropped", "dropped", "sent"]


async def log_of(database: Database, person: Person) -> list[str]:
    async with database.as_organization(person.org_id) as tx:
        page = await notifications.list_attempts(tx, person.actor, everybody=False, before=None, limit=100)
    return [attempt.outcome for attempt in page]


async def test_a_burst_becomes_five_letters_and_a_digest(
    world: World, database: Database, firm: Firm, ivan: Person, database_url: str
) -> None:
    mail = KeepingCourier()
    chat_id = await world.chat(firm.admin, ivan)
    await hurry(database, ivan)
    for number in range(20):
        await world.post(firm.admin, chat_id, f"@ivan, {number}")

    async with working(database, mail):
        await eventually(lambda: len(mail.notes) == 5)
        owner = await asyncpg.connect(database_url)
        await owner.execute("UPDATE deliveries SET due_at = now() WHERE purpose = 'digest'")
        await owner.close()
        await world.post(firm.admin, chat_id, "@ivan, последнее")
        await eventually(lambda: len(mail.notes) == 6)

    digest = mail.notes[-1]
    assert digest.purpose == "digest"
    assert len(digest.tidings) in (15, 16)


async def test_a_digest_that_fails_comes_again_beside_the_one_that_gathers_by_now(
    world: World, database: Database, firm: Firm, ivan: Person, database_url: str
) -> None:
    mail = KeepingCourier()
    chat_id = await world.chat(firm.admin, ivan)
    await hurry(database, ivan)
    queued = "FROM deliveries WHERE purpose = 'digest' AND status = 'queued'"

    async def fail_when_the_next_one_gathers() -> None:
        await world.post(firm.admin, chat_id, "@ivan, последнее")
        await becomes_true(database_url, f"SELECT count(*) = 1 {queued}")
        raise DeliveryDelayed("451 greylisted")

    async with working(database, mail):
        for number in range(6):
            await world.post(firm.admin, chat_id, f"@ivan, {number}")
        await eventually(lambda: len(mail.notes) == 5)
        await becomes_true(database_url, f"SELECT count(*) = 1 {queued}")
        mail.failures.append(fail_when_the_next_one_gathers)
        await hasten(database, database_url)
        await becomes_true(database_url, f"SELECT count(*) = 2 {queued}")
        await hasten(database, database_url)
        await eventually(lambda: len(mail.notes) == 7)

    told = [tiding.body for note in mail.notes for tiding in note.tidings]
    assert sorted(told) == sorted([*(f"@ivan, {number}" for number in range(6)), "@ivan, последнее"])
    assert sorted(await log_of(database, ivan)) == ["delayed", *["sent"] * 7]


async def test_nobody_is_disturbed_in_quiet_hours(
    world: World, database: Database, firm: Firm, ivan: Person, database_url: str
) -> None:
    mail = KeepingCourier()
    chat_id = await world.chat(firm.admin, ivan)
    await hurry(database, ivan)
    email = await own_channel(database, ivan.actor, "email")
    async with database.as_organization(firm.id) as tx:
        changes = ChannelChanges(quiet_from=time(0), quiet_until=time(23, 59, 59), timezone="UTC")
        await notifications.change_channel(tx, ivan.actor, channel_id=email, changes=changes)

    async with working(database, mail):
        await world.post(firm.admin, chat_id, "@ivan, тихо")
        await becomes_true(database_url, "SELECT next_at > now() AND told = 100 FROM notifications")

    assert mail.notes == []


@pytest.mark.parametrize(
    ("posted", "failures", "arrives", "waiting", "attempts"),
    [(6, 0, 5, "digest", 0), (1, 1, 0, "note", 1)],
    ids=["a digest", "another try"],
)
async def test_what_was_to_go_to_a_channel_waits_for_the_end_of_its_quiet_hours(
    world: World,
    database: Database,
    firm: Firm,
    ivan: Person,
    database_url: str,
    posted: int,
    failures: int,
    arrives: int,
    waiting: str,
    attempts: int,
) -> None:
    mail = KeepingCourier()
    mail.failures.extend([DeliveryDelayed("451 greylisted", retry_after_seconds=60)] * failures)
    chat_id = await world.chat(firm.admin, ivan)
    await hurry(database, ivan)
    for number in range(posted):
        await world.post(firm.admin, chat_id, f"@ivan, {number}")
    left = f"FROM deliveries WHERE purpose = '{waiting}' AND status = 'queued' AND attempts = {attempts}"

    async with working(database, mail):
        await becomes_true(database_url, f"SELECT count(*) = 1 {left}")
        await eventually(lambda: len(mail.notes) == arrives)
        await fall_quiet(database, ivan)
        await hasten(database, database_url)
        await becomes_true(database_url, f"SELECT max(due_at) > now() + interval '30 min' {left}")
        assert len(mail.notes) == arrives

        await wake(database, ivan)
        await hasten(database, database_url)
        await eventually(lambda: len(mail.notes) == arrives + 1)


async def test_what_somebody_asks_for_comes_in_quiet_hours(
    database: Database, ivan: Person, database_url: str
) -> None:
    mail = KeepingCourier()
    mail.failures.append(DeliveryDelayed("451 greylisted", retry_after_seconds=60))
    await fall_quiet(database, ivan)
    async with database.as_organization(ivan.org_id) as tx:
        email = await own_channel(database, ivan.actor, "email")
        await notifications.send_test(tx, ivan.actor, office=office("email"), channel_id=email)

    async with working(database, mail):
        await becomes_true(database_url, "SELECT attempts = 1 AND status = 'queued' FROM deliveries")
        await hasten(database, database_url)
        await eventually(lambda: [note.purpose for note in mail.notes] == ["test"])


async def fall_quiet(database: Database, person: Person) -> None:
    """Let a person's mail be quiet for an hour, as it has been for one."""
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    await _change_mail(
        database, person, quiet_from=(now - hour).time(), quiet_until=(now + hour).time(), timezone="UTC"
    )


async def wake(database: Database, person: Person) -> None:
    await _change_mail(database, person, quiet_from=time(0), quiet_until=time(0))


async def _change_mail(database: Database, person: Person, **changes: Any) -> None:
    channel_id = await own_channel(database, person.actor, "email")
    async with database.as_organization(person.org_id) as tx:
        await notifications.change_channel(
            tx, person.actor, channel_id=channel_id, changes=ChannelChanges(**changes)
        )


async def test_one_that_is_no_more_is_told_nothing(
    world: World, database: Database, firm: Firm, ivan: Person, database_url: str
) -> None:
    mail = KeepingCourier()
    chat_id = await world.chat(firm.admin, ivan)
    await hurry(database, ivan)
    await world.post(firm.admin, chat_id, "@ivan, пока")
    async with database.as_organization(firm.id) as tx:
        await users.update_user(tx, firm.admin.actor, user_id=ivan.id, changes=UserChanges(is_active=False))

    async with working(database, mail):
        await becomes_true(database_url, "SELECT next_at IS NULL FROM notifications")

    assert mail.notes == []
