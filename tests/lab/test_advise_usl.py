"""Gunther's law: found again in what it made, and refused for what it did not make."""

import random

import pytest

from septet.lab.advise.usl import Usl, cliff_of, fit

NUMBERS = (1, 2, 4, 8, 16, 32, 64)


@pytest.mark.parametrize(
    ("sigma", "kappa"), [(0.0, 0.0), (0.05, 0.0), (0.0, 0.001), (0.02, 0.0005), (0.3, 1e-4), (0.9, 0.0)]
)
def test_finds_the_law_that_made_the_points(sigma: float, kappa: float) -> None:
    law = Usl(50.0, sigma, kappa, 0.0, 0)
    fitted = fit([(n, law.at(n)) for n in NUMBERS])
    assert fitted is not None
    assert fitted.rate == pytest.approx(50, rel=1e-6)
    assert fitted.sigma == pytest.approx(sigma, abs=1e-6)
    assert fitted.kappa == pytest.approx(kappa, abs=1e-8)
    assert fitted.error < 1e-6
    assert fitted.trustworthy


def test_noise_shows_in_the_error() -> None:
    chance = random.Random(4)
    law = Usl(50.0, 0.02, 0.0005, 0.0, 0)
    fitted = fit([(n, law.at(n) * chance.uniform(0.95, 1.05)) for n in NUMBERS])
    assert fitted is not None
    assert 0.005 < fitted.error < 0.05
    assert fitted.at(32) == pytest.approx(law.at(32), rel=0.08)


def test_parameters_are_never_negative() -> None:
    """Each of twice as many carries more than twice as much: no contention explains that, so there is none."""
    fitted = fit([(1, 10), (2, 22), (4, 50), (8, 110)])
    assert fitted is not None
    assert fitted.sigma == fitted.kappa == 0
    assert fitted.error > 0.03


def test_peak_and_ceiling() -> None:
    bent = Usl(50.0, 0.02, 0.0005, 0.0, 7)
    assert bent.peak == pytest.approx((0.98 / 0.0005) ** 0.5)
    assert bent.ceiling == max(bent.at(n) for n in (bent.peak, bent.peak - 1, bent.peak + 1))
    assert Usl(50.0, 0.1, 0.0, 0.0, 7).peak is None
    assert Usl(50.0, 0.1, 0.0, 0.0, 7).ceiling == 500
    assert Usl(50.0, 0.0, 0.0, 0.0, 7).ceiling is None


def test_too_few_points_have_no_law() -> None:
    assert fit([(1, 10), (2, 18), (4, 30)]) is None
    assert fit([]) is None
    assert fit([(1, 0), (2, 0), (4, 0), (8, 0)]) is None


def test_a_cliff_is_named_and_not_smoothed() -> None:
    """The pool of the measurement of 2019: flat up to 11,000 users, then less than half."""
    law = Usl(50.0, 0.02, 0.0, 0.0, 0)
    points = [(n, law.at(n)) for n in NUMBERS] + [(128, 0.45 * law.at(128))]
    assert cliff_of(points) == 128
    fitted = fit(points)
    assert fitted is not None
    assert fitted.cliff == 128
    assert fitted.points == len(NUMBERS)
    assert fitted.sigma == pytest.approx(0.02, abs=1e-6)


def test_a_gentle_fall_is_no_cliff() -> None:
    law = Usl(50.0, 0.02, 0.0005, 0.0, 0)
    assert cliff_of([(n, law.at(n)) for n in (*NUMBERS, 128)]) is None


def test_a_bad_fit_is_not_to_be_extended() -> None:
    fitted = fit([(1, 10), (2, 40), (4, 35), (8, 160), (16, 130)])
    assert fitted is not None
    assert not fitted.trustworthy
