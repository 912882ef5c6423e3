"""Errors of all rooms say the same three things, in another process too."""

import pickle

import pytest

from twin.assets import AssetError
from twin.drivers import DepartureModelError, DriverModelError
from twin.faults import FaultModelError
from twin.feeder.inverters.grid_codes import GridCodeError
from twin.feeder.scene import SceneError
from twin.impossible import ImpossibleValue


@pytest.mark.parametrize("kind", [
    AssetError, DepartureModelError, DriverModelError, FaultModelError, GridCodeError, SceneError,
])
def test_an_impossible_value_says_which_field_holds_what_and_what_was_expected(kind: type[ImpossibleValue]) -> None:
    error = pickle.loads(pickle.dumps(kind("capacity_kwh", -1.0, "more than 0")))  # noqa: S301 - our own
    assert type(error) is kind
    assert isinstance(error, ValueError)
    assert str(error) == "capacity_kwh: -1.0, expected more than 0"
    assert (error.field_name, error.value, error.expected) == ("capacity_kwh", -1.0, "more than 0")
