"""Settings of the property tests: a busy machine is no bug, so no example has a deadline."""

from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")
