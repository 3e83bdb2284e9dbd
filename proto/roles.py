"""Refuse protos with a method that says no role: nobody could call it, and that is never what was meant.

Takes the image that ``buf build`` writes, with imports. ``make check`` runs it.
"""

import sys
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROLE = "motorpool.v1.role"


def main() -> int:
    """List the methods without a role; the process's exit status."""
    found = without_role(descriptor_pb2.FileDescriptorSet.FromString(Path(sys.argv[1]).read_bytes()))
    for name in found:
        print(f"{name} has no role: say who may call it, as in `option (role) = ROLE_READER;`", file=sys.stderr)
    return 1 if found else 0


def without_role(image: descriptor_pb2.FileDescriptorSet) -> list[str]:
    """Return the methods of our own services that say no role, or the one that stands for none."""
    # A pool of its own: what this process has loaded may be of other protos than these.
    pool = descriptor_pool.DescriptorPool()
    for file in image.file:
        pool.Add(file)
    options = message_factory.GetMessageClass(pool.FindMessageTypeByName("google.protobuf.MethodOptions"))
    role = pool.FindExtensionByName(ROLE)
    found: list[str] = []
    for file in image.file:
        for service in file.service if file.package.startswith("motorpool.") else ():
            for method in service.method:
                said = options.FromString(method.options.SerializeToString())
                if not said.Extensions[role]:  # type: ignore[index]
                    found.append(f"{file.package}.{service.name}.{method.name}")
    return found


if __name__ == "__main__":
    sys.exit(main())
