"""The programs of others that Fairlead is tested and measured with. For this repository only: not in the wheel."""
