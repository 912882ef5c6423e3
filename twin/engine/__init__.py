"""Run ensembles: replicas x EVSEs in one array, SimPy for the events, exact in between.

`blocks` takes the run and cuts it into blocks of replicas; `course` leads one block through time, with `guests` (cars
that come), `hardware` (between order and car), `view` (what controllers see) and `record` (what is kept); `on_grid`
asks a feeder what flows; `open_loop` is the short way where nobody controls, over `step_cuts`; `of_world` brings worlds
and controllers made of objects.
"""

from twin.engine.blocks import BLOCK_SLOTS, VisitsOverlap, fault_part, run

__all__ = ["BLOCK_SLOTS", "VisitsOverlap", "fault_part", "run"]
