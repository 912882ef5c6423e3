"""Dynamic operating envelopes: what each connection point may draw or feed in while the feeder holds."""
