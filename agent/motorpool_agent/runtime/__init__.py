"""Starting, watching, adopting and stopping engines."""
