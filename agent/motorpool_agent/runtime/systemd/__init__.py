"""The executor ``systemd``: an engine as a transient unit of the service manager."""
