"""The executor ``docker``: an engine as a container of the Docker Engine on this machine."""
