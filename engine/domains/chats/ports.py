"""What a chat needs to know of the roles, which live on a higher floor."""

from collections.abc import Mapping
from typing import Protocol


class RoleNames(Protocol):
    """The roles of this installation, by what people call them."""

    def names(self) -> Mapping[str, str]:
        """Return every casefolded code and name (in each language), with the role's code."""
        ...
