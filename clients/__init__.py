"""What connects to 8ms from outside: the dashboard, the Android app and the simulated phone."""
