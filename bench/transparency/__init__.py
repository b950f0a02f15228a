"""Test suites that nobody here wrote, run against a server and through the router: both must have the same outcomes."""
