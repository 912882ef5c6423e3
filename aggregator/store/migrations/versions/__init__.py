"""One file per change of schema, in the order their revisions name."""
