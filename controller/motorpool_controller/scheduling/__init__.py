"""Where instances can run, where best, and why not elsewhere: filters, selectors, scorers."""
