"""Plans that the street's three-phase grid bears.

`known` is that grid as the service knows it. For a site, the gate's rounds keep what it refused (`rounds`, `lessons`).
For a street full of sites and cars, `search` plans with the flow inside: `rows` are its limits as tangents,
`flow_check` what the flow says of a schedule, `kept_rows` which limits a plan is held to, `program` the linear program
with them, `followable` what cars can follow, `verdict` the second engine's word, `plan` the result, `bound` what no
plan can cost less than.
"""
