"""Domain to protobuf and back. Messages stop here: what is above and below this package differs by nothing else."""
