"""The local real cluster: MySQL servers in one group, each with an address of its own, on one machine.

`bench.sandbox.sandbox.Sandbox` is the way in. Nothing here is imported by the packages that route."""
