"""The feeder as frozen data, all that can be wrong with it, and the matrices that follow from it."""
