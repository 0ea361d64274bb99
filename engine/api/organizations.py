"""One's own organization; there is no way to ask about another."""

from fastapi import APIRouter

from engine.api.caller import Authenticated, Caller
from engine.api.views import ChangeOrganization, OrganizationView, organization_view
from engine.domains import organizations

router = APIRouter(prefix="/organizations", tags=["organizations"])


@router.get("/current")
async def get_organization(caller: Authenticated) -> OrganizationView:
    """Show the organization, and which roles it lets in."""
    async with caller.transaction() as tx:
        organization = await organizations.current(tx)
        settings = await organizations.role_settings(tx)
    return organization_view(organization, settings, _codes(caller))


@router.patch("/current")
async def change_organization(change: ChangeOrganization, caller: Authenticated) -> OrganizationView:
    """Rename the organization, switch roles on and off, or add instructions to them; for admins."""
    codes = _codes(caller)
    async with caller.transaction() as tx:
        if change.name is not None:
            await organizations.rename(tx, caller.actor, name=change.name)
        for code in sorted(change.roles):  # In one order: two admins at once wait in a line.
            setting = change.roles[code]
            await organizations.set_role(
                tx,
                caller.actor,
                code=code,
                known=codes,
                enabled=setting.enabled,
                instruction=setting.instruction,
            )
        organization = await organizations.current(tx)
        settings = await organizations.role_settings(tx)
    return organization_view(organization, settings, codes)


def _codes(caller: Caller) -> list[str]:
    return [role.code for role in caller.engine.roles.all()]
