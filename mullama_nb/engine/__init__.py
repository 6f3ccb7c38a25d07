"""Models, contexts and sampling; the only room that knows llama.cpp."""

import os

# OpenMP's threads wait for each other in a busy loop, at every node of every graph. As soon as
# there are more threads than cores (a second kernel, a test run) they spend their time in it. Where
# they sleep after a short spin, a token takes 1 % longer on a quiet machine; with two and three
# generating processes on 2 cores 31 and 41 ms instead of 31 and 67 (medians, 7.4 ms alone), and
# never the 200 to 600 ms that longer spins came to. It must be set before OpenMP loads.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
