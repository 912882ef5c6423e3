"""Reports of what was planned, simulated, measured and stored: one self-contained HTML file or picture each.

Each report has a room: `day` (a real day and its verdict), `simulation` and `comparison` (runs of the twin), `plan` (a
fleet's plan) and `feeder` (pictures of a street's grid). In each, `facts` says what the report needs, and figures,
tables and sentences only show that. `page` is what they are all made of; `words` says in words what the gate refused.
"""
