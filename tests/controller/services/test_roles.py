import pytest

from motorpool_controller.services.roles import Role, role_from_proto, role_of, role_to_proto


@pytest.mark.parametrize(
    ("role", "reached"),
    [
        (Role.JOIN, {Role.JOIN}),
        (Role.AGENT, {Role.AGENT}),
        (Role.READER, {Role.READER}),
        (Role.OPERATOR, {Role.READER, Role.OPERATOR}),
        (Role.ADMIN, {Role.READER, Role.OPERATOR, Role.ADMIN}),
    ],
)
def test_roles_include_what_they_say(role: Role, reached: set[Role]) -> None:
    """
    Admin includes operator includes reader; join and agent stand alone, and nobody includes them.
    """
    assert reached == {least for least in Role if role.reaches(least)}


@pytest.mark.promise("P6")
@pytest.mark.parametrize("method", ["", "/", "/motorpool.v1.NodeService/Invented", "/x/Y", "NodeService", "/a.b.C/D/E"])
def test_unknown_method_is_nobodys(method: str) -> None:
    """
    What is not in the protos has no role.
    """
    assert role_of(method) is None


def test_roles_go_into_messages_and_back() -> None:
    """
    Each role has its number in the protos, and back.
    """
    assert list(Role) == [role_from_proto(role_to_proto(role)) for role in Role]
