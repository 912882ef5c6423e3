"""What EVs do to a feeder: limits broken with and without them, EN 50160 weeks, losses, extremes."""
