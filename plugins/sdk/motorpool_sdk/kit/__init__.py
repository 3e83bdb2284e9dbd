"""The `motorpool-sdk` command: writes a plugin to begin with, and verifies one on the machine that has its hardware."""
