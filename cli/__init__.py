"""The `eightms` command and the embedded PostgreSQL and NATS it can run on."""
