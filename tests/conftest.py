"""What all tests share: hypothesis profiles, quiet progress bars, no network."""

from __future__ import annotations

import os

os.environ.setdefault("LITOTES_QUIET", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from hypothesis import HealthCheck, settings

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
settings.register_profile("fast", max_examples=25, deadline=None, derandomize=True, suppress_health_check=_QUIET)
settings.register_profile("full", max_examples=200, deadline=None, derandomize=True, suppress_health_check=_QUIET)
settings.load_profile(os.environ.get("LITOTES_HYPOTHESIS", "fast"))
