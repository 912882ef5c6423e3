"""What transformer-thermal-model says of a day; runs in its own environment, started by transformer_ageing_speed.py."""

import json
import sys
import time

import numpy as np
import pandas as pd
from transformer_thermal_model.cooler import CoolerType
from transformer_thermal_model.model import Model
from transformer_thermal_model.schemas import InputProfile, UserTransformerSpecifications
from transformer_thermal_model.transformer import DistributionTransformer, PowerTransformer

CURRENT = 100.0
SAME = {"nom_load_sec_side": CURRENT, "no_load_loss": 1000.0, "amb_temp_surcharge": 0.0}


def profile(loading: list[float], air: list[float]) -> InputProfile:
    """Its first row is the start; the load of a row holds until it."""
    return InputProfile.create(
        datetime_index=pd.date_range("2025-01-01", periods=len(loading) + 1, freq="15min"),
        load_profile=np.array([loading[0], *loading]) * CURRENT, ambient_temperature_profile=np.array([air[0], *air]),
    )


def main() -> None:
    day = json.load(sys.stdin)
    units = {
        "distribution": DistributionTransformer(user_specs=UserTransformerSpecifications(
            load_loss=5000.0, top_oil_temp_rise=55.0, winding_oil_gradient=23.0, hot_spot_fac=1.0, **SAME
        )),
        "power": PowerTransformer(cooling_type=CoolerType.ONAN, user_specs=UserTransformerSpecifications(
            load_loss=6000.0, top_oil_temp_rise=52.0, winding_oil_gradient=20.0, hot_spot_fac=1.3, **SAME
        )),
    }
    told = {}
    for name, unit in units.items():
        course = Model(temperature_profile=profile(day["loading"], day["ambient_c"]), transformer=unit).run()
        told[name] = {
            "top_oil_c": course.top_oil_temp_profile.to_numpy()[1:].round(6).tolist(),
            "hot_spot_c": course.hot_spot_temp_profile.to_numpy()[1:].round(6).tolist(),
        }
    year = Model(temperature_profile=profile(day["loading"] * 365, day["ambient_c"] * 365), transformer=units["power"])
    start = time.perf_counter()
    year.run()
    told["seconds_per_year"] = time.perf_counter() - start
    print(json.dumps(told))


if __name__ == "__main__":
    main()
