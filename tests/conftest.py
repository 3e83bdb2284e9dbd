from pathlib import Path

from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase

# Two test processes share two cores with the servers they start: time is no property of the code there.
# What once failed is kept with the other caches. Under CI=true Hypothesis's own profile stays: the same
# examples every run.
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "hypothesis"
settings.register_profile("motorpool", deadline=None, database=DirectoryBasedExampleDatabase(CACHE))
if settings.get_current_profile_name() != "ci":
    settings.load_profile("motorpool")
