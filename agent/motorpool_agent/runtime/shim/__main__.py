"""Where the shim's interpreter begins: ``python -I -S …/shim/__main__.py <instance directory>``.

As short as can be, as Python compiles this file at every start; what it imports is compiled already.
"""

import sys

if __name__ == "__main__":
    # …/motorpool_agent/runtime/shim/__main__.py: the folder that the agent itself was imported from.
    sys.path.insert(0, __file__.rsplit("/", 4)[0])
    from motorpool_agent.runtime.shim.life import live

    live(sys.argv[1])
