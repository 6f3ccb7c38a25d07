"""Models, contexts and sampling; the only room that knows llama.cpp."""

import os

# OpenMP's threads wait for each other in a busy loop, at every node of every graph. As soon as
# there are more threads than cores (a second kernel, a test run) they spend their time in it: a
# token then takes 10 to 100 times as long. Waiting asleep after a short spin costs nothing when
# the machine is quiet (medians of 10.8 and 11.6 ms a token). It must be set before OpenMP loads.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
