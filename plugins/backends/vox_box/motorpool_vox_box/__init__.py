"""The vox-box backend."""
