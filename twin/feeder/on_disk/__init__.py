"""A feeder in a folder: power-grid-model's JSON with a sidecar; and the feeder that is shipped."""
