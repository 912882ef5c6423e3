"""A scenario file becomes a world: stations, cars, visits, a building, events, and what may go wrong.

`tables` is the file as it stands on disk, `reading` decodes it (and what it extends), `rows` gathers recorded, written
and parametric visits, `drawing` draws what no recording holds, `loading` puts the world together, `experiment` turns
it into the arrays that the engine runs, `check` lists every fault of a file at once.
"""

from twin.scenario.loading import *
