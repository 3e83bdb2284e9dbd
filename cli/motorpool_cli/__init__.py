"""The `motorpool` command: a client of the Motorpool API, and nothing else."""

import os

# gRPC's own log goes to stderr, beside our paragraph about the same failure; it is read when grpc is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
