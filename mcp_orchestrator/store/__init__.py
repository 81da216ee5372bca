"""The durable store: schema, engine, group commit and migrations."""
