"""What `rugpt seed` does, and what it tells."""

from engine.bootstrap import open_engine
from engine.cli.seed import planting
from engine.cli.seed.removal import remove_organization
from engine.cli.seed.story import ORGANIZATION, PEOPLE, SLUG
from engine.core.errors import Conflict, NotFound
from engine.core.settings import Settings


class NotTheDemo(Conflict):
    """An organization has the demo's slug and was not made by `rugpt seed`: it is left alone."""

    code = "not_the_demo"


class NothingSeeded(NotFound):
    """There is no demo organization here."""

    code = "nothing_seeded"


async def seed_database(settings: Settings, *, remove: bool, reset_passwords: bool) -> None:
    """Make the demo organization where there is none, or remove it; works beside a running engine."""
    async with open_engine(settings, works=False) as engine:
        org_id, is_ours = await planting.find(engine.database)
        if org_id is not None and not is_ours:
            raise NotTheDemo(f"An organization with the slug {SLUG} exists that `rugpt seed` did not make.")
        if remove:
            if org_id is None:
                raise NothingSeeded("There is no demo organization to remove.")
            rows = await remove_organization(engine.urls.owner, org_id, slug=SLUG)
            print(f"Removed «{ORGANIZATION}» ({SLUG}): {rows} rows.")
        elif org_id is None:
            _tell_made(settings, await planting.plant(engine))
        elif reset_passwords:
            print(f"New passwords for «{ORGANIZATION}»; whoever was signed in is signed out.\n")
            _tell_passwords(await planting.reset_passwords(engine, org_id))
        else:
            print(f"«{ORGANIZATION}» ({SLUG}) is there already: nothing was changed.")
            print("Its passwords were shown when it was made; --reset-passwords makes new ones.")


def _tell_made(settings: Settings, passwords: dict[str, str]) -> None:
    print(f"Made «{ORGANIZATION}» ({SLUG}). The passwords are shown this once:\n")
    _tell_passwords(passwords)
    print("\nNext: scripts/rugpt chat --username anna")
    if settings.registration == "first":
        print(
            "Registration over HTTP is for the first organization only, and this is one now: to register\n"
            "yours later, remove it (scripts/rugpt seed --remove) or set RUGPT_REGISTRATION=open."
        )


def _tell_passwords(passwords: dict[str, str]) -> None:
    for person in PEOPLE:
        if person.username in passwords:
            kind = "admin" if person.role == "admin" else "user"
            print(f"  {person.username:<6} {passwords[person.username]}  {person.display_name}, {kind}")
