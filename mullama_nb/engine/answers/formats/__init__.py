"""The families of marks and calls that chat templates teach, and how they are read."""
