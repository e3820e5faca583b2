"""The paths that are measured."""

from __future__ import annotations

import pytest

from bench.long_haul.profiles import LOSSES, PROFILES, Profile


def test_no_two_profiles_share_a_name() -> None:
    names = [profile.name for profile in PROFILES]
    assert len(names) == len(set(names))
    assert {f"loss-{percent}" for percent in LOSSES} < set(names)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda one: one.name)
def test_a_profile_says_what_it_is(profile: Profile) -> None:
    milliseconds = round(profile.round_trip * 1000)
    assert f"{milliseconds} ms" in profile.title
    if profile.forward.knee is None:
        assert f"{profile.rate / 1e6:.0f} Mbit/s" in profile.title


@pytest.mark.parametrize("profile", PROFILES, ids=lambda one: one.name)
def test_all_that_happens_on_a_path_happens_within_a_transfer(profile: Profile) -> None:
    seconds = max(profile.least_seconds, 8)
    assert all(time < seconds - 1 for time, _ in profile.forward.rate_steps)
    outages = profile.forward.outages
    assert outages is None or outages.first + outages.length < seconds - 1


def test_the_rate_of_a_policed_path_is_its_policer() -> None:
    (policed,) = (profile for profile in PROFILES if profile.forward.policer)
    assert policed.rate == 40e6
