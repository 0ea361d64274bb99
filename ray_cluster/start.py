"""`ray`, but without the process of its dashboard where that is off: `python -m ray_cluster.start start …`.

What Ray leaves of that process with the dashboard off asks clouds whether the machine is theirs, and tells
Ray's makers that statistics are off. Nothing of ours shall call outside.
"""

from collections.abc import Callable
from typing import Any


def main() -> None:
    """Run Ray's own command line."""
    from ray._private import services
    from ray.scripts import scripts

    services.start_api_server = _where_asked(services.start_api_server)
    scripts.main()  # type: ignore[no-untyped-call]  # Ray gives it no types.


def _where_asked(start: Callable[..., Any]) -> Callable[..., Any]:
    def start_where_asked(include_dashboard: bool | None, *others: Any, **named: Any) -> Any:
        if include_dashboard:
            return start(include_dashboard, *others, **named)
        return None, None  # As when it could not be started, which Ray takes in its stride.

    return start_where_asked


if __name__ == "__main__":
    main()
