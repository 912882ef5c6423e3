"""Plans that the street's three-phase grid bears.

`known` is that grid as the service knows it. For a site, the gate's rounds keep what it refused (`rounds`, `lessons`).
For a street full of sites and cars, `search` plans with the flow inside: `rows` are its limits as tangents, `program`
the linear program with them, `verdict` the second engine's word, `plan` the result, `bound` what no plan can cost less
than.
"""
