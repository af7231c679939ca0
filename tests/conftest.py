"""What all tests share: how Hypothesis looks for counter-examples."""

from hypothesis import HealthCheck, settings

# The same examples in every run, and none fails because a machine is slow. `pytest --hypothesis-profile explore` looks
# for others.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None)
settings.load_profile("suite")
