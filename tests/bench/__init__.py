"""`make bench`: what this machine reaches, measured against its own raw limits in the same run.

    python -m tests.bench                  every measure; writes docs/benchmarks.md
    python -m tests.bench latency bulk     these only, printed
    python -m tests.bench --quick          shorter, printed: to see whether something broke

Real service processes on the embedded PostgreSQL and NATS, everything synced to disk as in
production. Loopback only, free ports, a temporary data folder; whatever was started is stopped.
"""
