"""Alembic's folder: `env.py` runs on the store's own connection, `versions/` holds one file per change of schema."""
