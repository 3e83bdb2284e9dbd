"""The Motorpool API: ``from motorpool import v1``."""
