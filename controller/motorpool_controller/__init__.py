"""The Motorpool controller: decides where models run."""

import os

# gRPC's core prints a line of its own kind for every stranger at a port; it reads this when grpc is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
