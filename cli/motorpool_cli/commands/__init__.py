"""The commands, a noun or verb a file; each file's ``add_to`` puts its commands on the application."""
