"""The same flows by power-grid-model, or by OpenDSS where that one has no words: both have to agree."""
