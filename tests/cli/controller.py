# ruff: noqa: N802 (methods bear the API's names)
"""A controller's public listener on loopback: real TLS and tokens, and what a test puts into it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2, empty_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from motorpool import v1
from tests.cli.authority import Authority

T = TypeVar("T")

TOKEN = "mpt_admin_4f2a9c"  # made up
ACTOR = "tokens/t1 (nightly)"
API_KEY = "sk-made-up-77aa"
ROLES = {TOKEN: v1.ROLE_ADMIN, "mpt_reader_1": v1.ROLE_READER}


class DroppedError(Exception):
    """A step of a script: the stream breaks, as when the controller restarts."""


class EndError(Exception):
    """A step of a script: the caller may watch no longer."""


class GapError(Exception):
    """A step of a script: the changes since the caller's token are no longer kept."""


class Controller:
    """What the servicers below answer with; `put` and `remove` are seen by watchers."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.nodes: dict[str, v1.Node] = {}
        self.devices: list[v1.DeviceStatus] = []
        self.backends: list[v1.Backend] = []
        self.runners = ["nodes/rack1"]
        # What the controller finds wrong in a declared backend: fields, each with a sentence.
        self.violations: dict[str, list[tuple[str, str]]] = {}
        self.deployments: dict[str, v1.Deployment] = {}
        self.instances: dict[str, v1.Instance] = {}
        self.tokens: dict[str, v1.Token] = {}
        self.events: list[v1.Event] = []
        self.strays: list[v1.StrayInstance] = []
        self.files: dict[str, v1.ModelFiles] = {}
        self.explanations: dict[str, v1.ExplainDeploymentResponse] = {}
        self.revisions: dict[str, v1.ListDeploymentRevisionsResponse] = {}
        # What clients are told to trust; nothing, as by a controller of before.
        self.told_to_trust = ""
        self.plan = v1.PlanDeploymentResponse()
        self.logs: dict[str, list[str]] = {}
        # How often a stream of lines breaks, each time after one more of them was sent.
        self.broken_streams = 0
        self.drain = v1.Drain()
        self.inspections: Iterable[v1.InspectModelResponse] = []
        self.requests: list[Message] = []
        self.watched: list[v1.WatchRequest] = []
        self.page_size = 1000
        # What happens once a deployment was created, and step by step while somebody watches.
        self.when_created: Callable[[v1.Deployment], None] = lambda _: None
        self.script: list[Callable[[], None]] = []
        self.refusal: tuple[code_pb2.Code.ValueType, str, str] | None = None
        # When the next changes of deployments are to come again, in seconds; and those that were sent away.
        self.busy: list[float] = []
        self.sent_away: list[Any] = []
        self.on_call: Callable[[], None] = lambda: None
        # Where the leader is, of one that stands by; empty where it does not know.
        self.leader: str | None = None
        # Whether it cannot reach its database.
        self.cut_off = False
        # The traceparent of each call.
        self.traces: list[str] = []
        self._log: list[v1.WatchResponse] = []
        self._changed = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(8), interceptors=[_Guard(self)])
        self.port = self._server.add_secure_port("127.0.0.1:0", authority.server_credentials())
        v1.add_ClusterServiceServicer_to_server(_Cluster(self), self._server)
        v1.add_NodeServiceServicer_to_server(_Nodes(self), self._server)
        v1.add_BackendServiceServicer_to_server(_Backends(self), self._server)
        v1.add_DeploymentServiceServicer_to_server(_Deployments(self), self._server)
        v1.add_FileServiceServicer_to_server(_Files(self), self._server)
        v1.add_InstanceServiceServicer_to_server(_Instances(self), self._server)
        v1.add_ModelServiceServicer_to_server(_Models(self), self._server)
        v1.add_EventServiceServicer_to_server(_Events(self), self._server)
        v1.add_TokenServiceServicer_to_server(_Tokens(self), self._server)
        v1.add_WatchServiceServicer_to_server(_Watch(self), self._server)
        self._server.start()
        self.address = f"127.0.0.1:{self.port}"
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(authority.certificate_pem)
        self.client_file = folder / "client.toml"
        self.client_file.touch(mode=0o600)
        self.client_file.write_text(f'server = "{self.address}"\nca_file = "ca.pem"\ntoken = "{TOKEN}"\n')

    def close(self) -> None:
        with self._changed:
            self._changed.notify_all()
        self._server.stop(0).wait()

    @staticmethod
    def end() -> NoReturn:
        """A step of a script."""
        raise EndError

    def put(self, item: v1.Node | v1.Deployment | v1.Instance | v1.Event) -> None:
        """Store a node, deployment, instance or event, and tell watchers."""
        with self._changed:
            if isinstance(item, v1.Event):
                self.events.insert(0, item)
                self._log.append(v1.WatchResponse(event=item))
            elif isinstance(item, v1.Deployment):
                self.deployments[item.name] = item
                self._log.append(v1.WatchResponse(deployment=item))
            elif isinstance(item, v1.Instance):
                self.instances[item.name] = item
                self._log.append(v1.WatchResponse(instance=item))
            else:
                self.nodes[item.name] = item
                self._log.append(v1.WatchResponse(node=item))
            self._changed.notify_all()

    def remove(self, name: str) -> None:
        """Forget a deployment or instance, and tell watchers."""
        with self._changed:
            self.deployments.pop(name, None)
            self.instances.pop(name, None)
            self._log.append(v1.WatchResponse(deleted=name))
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait a moment for what a test changes."""
        with self._changed:
            self._changed.wait(0.1)

    def revision(self) -> int:
        return len(self._log)

    def follow(self, revision: int, context: grpc.ServicerContext) -> Iterator[v1.WatchResponse]:
        while context.is_active():
            with self._changed:
                fresh = self._log[revision:]
                if not fresh and not self.script:
                    self._changed.wait(0.1)
                    continue
            for change in fresh:
                revision += 1
                sent = v1.WatchResponse(resume_token=str(revision))
                sent.MergeFrom(change)
                yield sent
            if not fresh and self.script:
                try:
                    self.script.pop(0)()
                except DroppedError:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
                except EndError:
                    refuse(context, code_pb2.PERMISSION_DENIED, "ROLE_INSUFFICIENT", "enough")
                except GapError:
                    refuse(context, code_pb2.OUT_OF_RANGE, "HISTORY_COMPACTED", "list again")


def refuse(
    context: grpc.ServicerContext,
    code: code_pb2.Code.ValueType,
    reason: str,
    message: str,
    violations: Iterable[tuple[str, str]] = (),
) -> NoReturn:
    """End a call as the controller does: a status with one ErrorInfo, and fields where some are at fault."""
    details = [any_pb2.Any()]
    details[0].Pack(error_details_pb2.ErrorInfo(reason=reason, domain="motorpool"))
    told = [error_details_pb2.BadRequest.FieldViolation(field=field, description=what) for field, what in violations]
    if told:
        details.append(any_pb2.Any())
        details[1].Pack(error_details_pb2.BadRequest(field_violations=told))
    status = status_pb2.Status(code=int(code), message=message, details=details)
    context.abort_with_status(rpc_status.to_status(status))


class _Guard(grpc.ServerInterceptor):
    """Answers only to known tokens; what a test set up as refusal comes instead of the answer."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        token = _token(handler_call_details.invocation_metadata)
        told = {key: str(value) for key, value in handler_call_details.invocation_metadata or ()}
        self._controller.traces.append(told.get("traceparent", ""))
        refusal = self._controller.refusal
        self._controller.on_call()
        if token not in ROLES:
            refusal = (
                code_pb2.UNAUTHENTICATED,
                "TOKEN_INVALID",
                "The token is unknown or was revoked; `motorpool-controller token` makes another.",
            )
        handler = continuation(handler_call_details)
        if self._controller.leader is not None and handler is not None:
            return _turned_away(handler, "NOT_LEADER", self._controller.leader)
        if self._controller.cut_off and handler is not None:
            return _turned_away(handler, "STORE_UNAVAILABLE")
        changes = handler_call_details.method.endswith(("/CreateDeployment", "/UpdateDeployment"))
        if handler is not None and changes and self._controller.busy:
            return grpc.unary_unary_rpc_method_handler(self._sent_away, handler.request_deserializer)
        if refusal is None or handler is None:
            return handler
        code, reason, message = refusal

        def ended(request: object, context: grpc.ServicerContext) -> NoReturn:
            refuse(context, code, reason, message)

        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(ended, handler.request_deserializer)
        return grpc.unary_unary_rpc_method_handler(ended, handler.request_deserializer)

    def _sent_away(self, request: object, context: grpc.ServicerContext) -> NoReturn:
        self._controller.sent_away.append(request)
        status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="too many wait")
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(self._controller.busy.pop(0) * 1e9))
        for detail in (error_details_pb2.ErrorInfo(domain="motorpool", reason="STORE_BUSY"), retry):
            status.details.add().Pack(detail)
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError("abort_with_status returned")


def _turned_away(
    handler: grpc.RpcMethodHandler[Any, Any], reason: str, leader: str = ""
) -> grpc.RpcMethodHandler[Any, Any]:
    """Return a handler that says why it does not answer, and who leads."""

    def ended(request: object, context: grpc.ServicerContext) -> NoReturn:
        status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="this controller does not lead")
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(10_000_000)
        info = error_details_pb2.ErrorInfo(
            domain="motorpool", reason=reason, metadata={"public_endpoints": leader, "agent_endpoints": ""}
        )
        for detail in (info, retry):
            status.details.add().Pack(detail)
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError("abort_with_status returned")

    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(ended, handler.request_deserializer)
    return grpc.unary_unary_rpc_method_handler(ended, handler.request_deserializer)


def _token(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    return str(dict(metadata).get("authorization", "")).removeprefix("Bearer ")


class _Servicer:
    def __init__(self, controller: Controller) -> None:
        self.of = controller

    def get(self, found: Mapping[str, T], name: str, context: grpc.ServicerContext) -> T:
        if name not in found:
            refuse(context, code_pb2.NOT_FOUND, "NOT_FOUND", f"{name} does not exist.")
        return found[name]

    def page(self, found: Iterable[T], token: str) -> tuple[list[T], str]:
        begin, items = int(token or 0), list(found)
        end = begin + self.of.page_size
        return items[begin:end], str(end) if end < len(items) else ""


class _Cluster(_Servicer, v1.ClusterServiceServicer):
    def GetCluster(self, request: v1.GetClusterRequest, context: grpc.ServicerContext) -> v1.Cluster:
        return v1.Cluster(
            cluster_id="c-81f0",
            version="0.1.0",
            controller_epoch=3,
            agent_endpoints=["10.0.0.1:7401"],
            ca_pem=self.of.told_to_trust,
            caller_role=ROLES[_token(context.invocation_metadata())],
        )


class _Nodes(_Servicer, v1.NodeServiceServicer):
    def GetNode(self, request: v1.GetNodeRequest, context: grpc.ServicerContext) -> v1.Node:
        return self.get(self.of.nodes, request.name, context)

    def ListNodes(self, request: v1.ListNodesRequest, context: grpc.ServicerContext) -> v1.ListNodesResponse:
        nodes, token = self.page(self.of.nodes.values(), request.page_token)
        return v1.ListNodesResponse(nodes=nodes, next_page_token=token)

    def UpdateNode(self, request: v1.UpdateNodeRequest, context: grpc.ServicerContext) -> v1.Node:
        self.of.requests.append(request)
        node = self.get(self.of.nodes, request.node.name, context)
        node.cordoned = request.node.cordoned
        return node

    def CordonNode(self, request: v1.CordonNodeRequest, context: grpc.ServicerContext) -> v1.Node:
        self.of.requests.append(request)
        return self._cordoned(request.name, v1.Cordon(reason=request.reason, actor=ACTOR), context)

    def UncordonNode(self, request: v1.UncordonNodeRequest, context: grpc.ServicerContext) -> v1.Node:
        self.of.requests.append(request)
        node = self._cordoned(request.name, v1.Cordon(), context)
        place = next((each for each in node.devices if each.name == request.name), node)
        place.ClearField("cordon")
        place.cordoned = False
        return node

    def DrainNode(self, request: v1.DrainNodeRequest, context: grpc.ServicerContext) -> v1.Node:
        self.of.requests.append(request)
        drain = v1.Drain(reason=request.reason, actor=ACTOR, state=v1.DRAIN_STATE_DRAINING)
        drain.MergeFrom(self.of.drain)
        return self._cordoned(request.name, v1.Cordon(reason=request.reason, actor=ACTOR, drain=drain), context)

    def _cordoned(self, name: str, cordon: v1.Cordon, context: grpc.ServicerContext) -> v1.Node:
        node = self.get(self.of.nodes, name.partition("/devices/")[0], context)
        place = next((each for each in node.devices if each.name == name), node)
        place.cordoned = True
        place.cordon.CopyFrom(cordon)
        return node

    def BanNode(self, request: v1.BanNodeRequest, context: grpc.ServicerContext) -> v1.Node:
        self.of.requests.append(request)
        node = self.get(self.of.nodes, request.name, context)
        node.ban.CopyFrom(v1.Ban(reason=request.reason, actor=ACTOR))
        return node

    def UnbanNode(self, request: v1.UnbanNodeRequest, context: grpc.ServicerContext) -> v1.Node:
        self.of.requests.append(request)
        node = self.get(self.of.nodes, request.name, context)
        node.ClearField("ban")
        return node

    def DeleteNode(self, request: v1.DeleteNodeRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self.of.requests.append(request)
        self.get(self.of.nodes, request.name, context)
        if not request.force:
            refuse(context, code_pb2.FAILED_PRECONDITION, "NODE_NOT_EMPTY", f"{request.name} still has instances.")
        del self.of.nodes[request.name]
        return empty_pb2.Empty()

    def ListDevices(self, request: v1.ListDevicesRequest, context: grpc.ServicerContext) -> v1.ListDevicesResponse:
        devices, token = self.page(self.of.devices, request.page_token)
        return v1.ListDevicesResponse(devices=devices, next_page_token=token)


class _Backends(_Servicer, v1.BackendServiceServicer):
    def ListBackends(self, request: v1.ListBackendsRequest, context: grpc.ServicerContext) -> v1.ListBackendsResponse:
        backends, token = self.page(self.of.backends, request.page_token)
        return v1.ListBackendsResponse(backends=backends, next_page_token=token)

    def GetBackend(self, request: v1.GetBackendRequest, context: grpc.ServicerContext) -> v1.Backend:
        return self.get({backend.name: backend for backend in self.of.backends}, request.name, context)

    def CreateBackend(self, request: v1.CreateBackendRequest, context: grpc.ServicerContext) -> v1.Backend:
        refuse(context, code_pb2.UNIMPLEMENTED, "UNIMPLEMENTED", "The command does not call it.")

    def UpdateBackend(self, request: v1.UpdateBackendRequest, context: grpc.ServicerContext) -> v1.Backend:
        self.of.requests.append(request)
        name = request.backend.name
        if name in self.of.violations:
            refuse(context, code_pb2.INVALID_ARGUMENT, "FIELD_INVALID", "It is wrong.", self.of.violations[name])
        versions = [v1.BackendVersion(version=each.version) for each in request.backend.declaration.versions]
        backend = v1.Backend(
            name=name,
            profile=v1.BackendProfile(versions=versions),
            nodes=self.of.runners,
            declaration=request.backend.declaration,
        )
        if not request.validate_only:
            self.of.backends = [each for each in self.of.backends if each.name != name] + [backend]
        return backend

    def DeleteBackend(self, request: v1.DeleteBackendRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self.of.requests.append(request)
        self.get({backend.name: backend for backend in self.of.backends}, request.name, context)
        return empty_pb2.Empty()


class _Deployments(_Servicer, v1.DeploymentServiceServicer):
    def CreateDeployment(self, request: v1.CreateDeploymentRequest, context: grpc.ServicerContext) -> v1.Deployment:
        self.of.requests.append(request)
        name = f"deployments/{request.deployment_id}"
        if name in self.of.deployments:
            refuse(context, code_pb2.ALREADY_EXISTS, "ALREADY_EXISTS", f"{name} exists already; delete it first.")
        created = v1.Deployment(
            name=name,
            uid=f"uid-{self.of.revision()}",
            generation=1,
            spec=request.deployment.spec,
            state=v1.DEPLOYMENT_STATE_PROGRESSING,
            findings=["The backend checks no API key."] if request.deployment.spec.backend == "custom" else [],
        )
        if not request.validate_only:
            self.of.put(created)
            self.of.when_created(created)
        return created

    def GetDeployment(self, request: v1.GetDeploymentRequest, context: grpc.ServicerContext) -> v1.Deployment:
        return self.get(self.of.deployments, request.name, context)

    def ListDeployments(
        self, request: v1.ListDeploymentsRequest, context: grpc.ServicerContext
    ) -> v1.ListDeploymentsResponse:
        deployments, token = self.page(self.of.deployments.values(), request.page_token)
        revision = str(self.of.revision())
        return v1.ListDeploymentsResponse(deployments=deployments, next_page_token=token, resume_token=revision)

    def UpdateDeployment(self, request: v1.UpdateDeploymentRequest, context: grpc.ServicerContext) -> v1.Deployment:
        self.of.requests.append(request)
        changed = v1.Deployment()
        changed.CopyFrom(self.get(self.of.deployments, request.deployment.name, context))
        request.update_mask.MergeMessage(request.deployment, changed, True, True)
        changed.generation += 1
        if set(request.update_mask.paths) - {"spec.replicas", "spec.rollout_strategy"}:
            changed.revision = changed.generation
            changed.rollout.state = v1.ROLLOUT_STATE_PROGRESSING
        if request.validate_only:
            return changed
        changed.state = v1.DEPLOYMENT_STATE_PROGRESSING
        self.of.put(changed)
        return changed

    def ListDeploymentRevisions(
        self, request: v1.ListDeploymentRevisionsRequest, context: grpc.ServicerContext
    ) -> v1.ListDeploymentRevisionsResponse:
        return self.get(self.of.revisions, request.name, context)

    def RollbackDeployment(self, request: v1.RollbackDeploymentRequest, context: grpc.ServicerContext) -> v1.Deployment:
        self.of.requests.append(request)
        changed = v1.Deployment()
        changed.CopyFrom(self.get(self.of.deployments, request.name, context))
        if changed.revision < 2:
            refuse(context, code_pb2.FAILED_PRECONDITION, "NO_FORMER_SPEC", f"{request.name} never had another spec.")
        changed.generation += 1
        changed.revision = request.revision or 1
        changed.rollout.state = v1.ROLLOUT_STATE_PROGRESSING
        if not request.validate_only:
            self.of.put(changed)
        return changed

    def DeleteDeployment(self, request: v1.DeleteDeploymentRequest, context: grpc.ServicerContext) -> v1.Deployment:
        self.of.requests.append(request)
        deployment = v1.Deployment()
        deployment.CopyFrom(self.get(self.of.deployments, request.name, context))
        deployment.state = v1.DEPLOYMENT_STATE_DELETING
        if any(instance.deployment == request.name for instance in self.of.instances.values()):
            self.of.put(deployment)
        else:
            self.of.remove(request.name)
        return deployment

    def ExplainDeployment(
        self, request: v1.ExplainDeploymentRequest, context: grpc.ServicerContext
    ) -> v1.ExplainDeploymentResponse:
        return self.get(self.of.explanations, request.name, context)

    def PlanDeployment(
        self, request: v1.PlanDeploymentRequest, context: grpc.ServicerContext
    ) -> v1.PlanDeploymentResponse:
        self.of.requests.append(request)
        return self.of.plan

    def PlanDeployments(
        self, request: v1.PlanDeploymentsRequest, context: grpc.ServicerContext
    ) -> v1.PlanDeploymentsResponse:
        if "plans" in self.of.violations:
            refuse(context, code_pb2.INVALID_ARGUMENT, "FIELD_INVALID", "It is wrong.", self.of.violations["plans"])
        self.of.requests.append(request)
        return v1.PlanDeploymentsResponse(plans=[self.of.plan] * len(request.deployments))

    def GetDeploymentCredentials(
        self, request: v1.GetDeploymentCredentialsRequest, context: grpc.ServicerContext
    ) -> v1.DeploymentCredentials:
        self.get(self.of.deployments, request.name, context)
        theirs = [each for each in self.of.instances.values() if each.deployment == request.name]
        return v1.DeploymentCredentials(
            endpoints=[each.endpoint for each in theirs if each.endpoint],
            api_key=API_KEY,
            served_model_name=request.name.removeprefix("deployments/"),
        )


class _Files(_Servicer, v1.FileServiceServicer):
    def ListModelFiles(
        self, request: v1.ListModelFilesRequest, context: grpc.ServicerContext
    ) -> v1.ListModelFilesResponse:
        of_all = request.parent == "nodes/-"
        return v1.ListModelFilesResponse(
            files=[each for name, each in self.of.files.items() if of_all or name.startswith(f"{request.parent}/")]
        )

    def DeleteModelFiles(
        self, request: v1.DeleteModelFilesRequest, context: grpc.ServicerContext
    ) -> v1.DeleteModelFilesResponse:
        self.of.requests.append(request)
        found = self.get(self.of.files, request.name, context)
        if not request.validate_only:
            del self.of.files[request.name]
        freed = 0 if request.validate_only else found.done_bytes
        return v1.DeleteModelFilesResponse(files=found, freed_bytes=freed)


class _Instances(_Servicer, v1.InstanceServiceServicer):
    def GetInstance(self, request: v1.GetInstanceRequest, context: grpc.ServicerContext) -> v1.Instance:
        return self.get(self.of.instances, request.name, context)

    def ListInstances(
        self, request: v1.ListInstancesRequest, context: grpc.ServicerContext
    ) -> v1.ListInstancesResponse:
        found = (each for each in self.of.instances.values() if request.deployment in {"", each.deployment})
        instances, token = self.page(found, request.page_token)
        return v1.ListInstancesResponse(instances=instances, next_page_token=token)

    def DrainInstance(self, request: v1.DrainInstanceRequest, context: grpc.ServicerContext) -> v1.Instance:
        self.of.requests.append(request)
        instance = self.get(self.of.instances, request.name, context)
        instance.drain.CopyFrom(v1.Drain(reason=request.reason, actor=ACTOR, state=v1.DRAIN_STATE_DRAINING))
        return instance

    def UndrainInstance(self, request: v1.UndrainInstanceRequest, context: grpc.ServicerContext) -> v1.Instance:
        self.of.requests.append(request)
        instance = self.get(self.of.instances, request.name, context)
        instance.ClearField("drain")
        return instance

    def ListStrayInstances(
        self, request: v1.ListStrayInstancesRequest, context: grpc.ServicerContext
    ) -> v1.ListStrayInstancesResponse:
        return v1.ListStrayInstancesResponse(strays=self.of.strays)

    def ReleaseStrayInstance(
        self, request: v1.ReleaseStrayInstanceRequest, context: grpc.ServicerContext
    ) -> v1.StrayInstance:
        self.of.requests.append(request)
        [stray] = [each for each in self.of.strays if each.assignment_id == request.assignment_id]
        stray.release.CopyFrom(v1.Release(reason=request.reason, actor=ACTOR))
        return stray

    def AdoptStrayInstance(self, request: v1.AdoptStrayInstanceRequest, context: grpc.ServicerContext) -> v1.Instance:
        self.of.requests.append(request)
        [stray] = [each for each in self.of.strays if each.assignment_id == request.assignment_id]
        return v1.Instance(name=stray.instance, deployment=request.deployment or stray.deployment)

    def StreamInstanceLogs(
        self, request: v1.StreamInstanceLogsRequest, context: grpc.ServicerContext
    ) -> Iterator[v1.StreamInstanceLogsResponse]:
        self.of.requests.append(request)
        lines = self.get(self.of.logs, request.name, context)
        if self.of.broken_streams:
            self.of.broken_streams -= 1
            number = int(request.position or 0)
            yield v1.StreamInstanceLogsResponse(lines=lines[number : number + 1], position=str(number + 1))
            context.abort(grpc.StatusCode.UNAVAILABLE, "the agent broke off")
        if request.position:
            lines = lines[int(request.position) :]
            request.follow = False
        yield v1.StreamInstanceLogsResponse(lines=lines)
        while request.follow and context.is_active():
            yield v1.StreamInstanceLogsResponse(lines=["still here"])
            self.of.wait()


class _Models(_Servicer, v1.ModelServiceServicer):
    def InspectModel(
        self, request: v1.InspectModelRequest, context: grpc.ServicerContext
    ) -> Iterator[v1.InspectModelResponse]:
        self.of.requests.append(request)
        yield from self.of.inspections


class _Events(_Servicer, v1.EventServiceServicer):
    def ListEvents(self, request: v1.ListEventsRequest, context: grpc.ServicerContext) -> v1.ListEventsResponse:
        self.of.requests.append(request)
        placed = {
            each.name for each in self.of.instances.values() if request.node in {m.node for m in each.placement.members}
        }
        found = [
            event
            for event in self.of.events
            if request.subject in {"", event.subject} and (not request.node or event.subject in {request.node, *placed})
        ]
        begin, size = int(request.page_token or 0), min(request.page_size or 100, self.of.page_size)
        left = len(found) > begin + size
        return v1.ListEventsResponse(
            events=found[begin : begin + size], next_page_token=str(begin + size) if left else ""
        )


class _Tokens(_Servicer, v1.TokenServiceServicer):
    def CreateToken(self, request: v1.CreateTokenRequest, context: grpc.ServicerContext) -> v1.CreateTokenResponse:
        self.of.requests.append(request)
        token = v1.Token(name="tokens/t7", role=request.role, description=request.description)
        return v1.CreateTokenResponse(token=token, secret="mpt_new_55")

    def ListTokens(self, request: v1.ListTokensRequest, context: grpc.ServicerContext) -> v1.ListTokensResponse:
        tokens, token = self.page(self.of.tokens.values(), request.page_token)
        return v1.ListTokensResponse(tokens=tokens, next_page_token=token)

    def DeleteToken(self, request: v1.DeleteTokenRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self.get(self.of.tokens, request.name, context)
        del self.of.tokens[request.name]
        return empty_pb2.Empty()


class _Watch(_Servicer, v1.WatchServiceServicer):
    def Watch(self, request: v1.WatchRequest, context: grpc.ServicerContext) -> Iterator[v1.WatchResponse]:
        self.of.requests.append(request)
        self.of.watched.append(request)
        yield from self.of.follow(int(request.resume_token or 0), context)
