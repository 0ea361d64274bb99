"""`ray start`, but for the process of its dashboard, which is off: `python -m ray_cluster.start start …`.

What Ray leaves of that process with the dashboard off asks clouds whether the machine is theirs, and tells
Ray's makers that statistics are off. Nothing of ours shall call outside.
"""

from typing import Any


def main() -> None:
    """Run Ray's own command line."""
    from ray._private import services
    from ray.scripts import scripts

    services.start_api_server = _none  # As when it could not be started, which Ray takes in its stride.
    scripts.main()  # type: ignore[no-untyped-call]  # Ray gives it no types.


def _none(*_: Any, **__: Any) -> tuple[None, None]:
    return None, None


if __name__ == "__main__":
    main()
