"""How hot a transformer gets under a course of loading, and what that costs of its life."""
