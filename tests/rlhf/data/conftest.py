"""Property tests here check what holds, not how long it takes on a busy machine."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "data", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("data")
