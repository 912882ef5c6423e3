"""Problems and plans as files: JSON to write by hand, NPZ for large fleets; every fault of a file at once."""
