"""The problem as one linear program: its definition in Pyomo, the same as arrays, HiGHS over them, the plan from it.

Limits that rarely bind (a feeder's lines, a battery's energies in blocks) are rows that are added when they break.
"""
