// A small `motorpool` in Java: motorpool nodes | deploy NAME MODEL | explain NAME | delete NAME

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.Status;
import io.grpc.CallCredentials;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status.Code;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.AbstractStub;
import java.io.File;
import java.io.IOException;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import motorpool.v1.DeploymentOuterClass.Deployment;
import motorpool.v1.DeploymentOuterClass.DeploymentSpec;
import motorpool.v1.DeploymentOuterClass.DeploymentState;
import motorpool.v1.DeploymentServiceGrpc;
import motorpool.v1.DeploymentServiceOuterClass.CreateDeploymentRequest;
import motorpool.v1.DeploymentServiceOuterClass.DeleteDeploymentRequest;
import motorpool.v1.DeploymentServiceOuterClass.ExplainDeploymentRequest;
import motorpool.v1.DeploymentServiceOuterClass.GetDeploymentCredentialsRequest;
import motorpool.v1.DeploymentServiceOuterClass.GetDeploymentRequest;
import motorpool.v1.DeploymentServiceOuterClass.ListDeploymentsRequest;
import motorpool.v1.InstanceOuterClass.Instance;
import motorpool.v1.InstanceOuterClass.InstanceState;
import motorpool.v1.Model.ModelSource;
import motorpool.v1.NodeServiceGrpc;
import motorpool.v1.NodeServiceOuterClass.ListNodesRequest;
import motorpool.v1.WatchServiceGrpc;
import motorpool.v1.WatchServiceOuterClass.WatchRequest;
import motorpool.v1.WatchServiceOuterClass.WatchResponse;

/** The services of one controller, over one channel. */
public final class Motorpool implements AutoCloseable {
  private static final String USAGE =
      "usage: motorpool nodes | deploy NAME /path/on/the/nodes/model.gguf | explain NAME | delete NAME";
  private static final long TIMEOUT_SECONDS = 20;
  private static final long FIRST_DELAY_MILLISECONDS = 200;
  private static final long LONGEST_DELAY_MILLISECONDS = 5_000;
  private static final double GIB = 1L << 30;

  /** What this program itself has to say against going on. */
  private static final class Failure extends RuntimeException {
    Failure(String message) {
      super(message);
    }
  }

  /** A token that goes with every call. */
  private static final class Bearer extends CallCredentials {
    private static final Metadata.Key<String> KEY =
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    private final Metadata metadata = new Metadata();

    Bearer(String token) {
      metadata.put(KEY, "Bearer " + token);
    }

    @Override
    public void applyRequestMetadata(RequestInfo request, Executor executor, MetadataApplier applier) {
      applier.apply(metadata);
    }

    @Override
    public void thisUsesUnstableApi() {}
  }

  private final ManagedChannel channel;
  private final NodeServiceGrpc.NodeServiceBlockingStub nodes;
  private final DeploymentServiceGrpc.DeploymentServiceBlockingStub deployments;
  private final WatchServiceGrpc.WatchServiceBlockingStub watches;

  private Motorpool() throws IOException {
    var credentials = TlsChannelCredentials.newBuilder().trustManager(new File(setting("MOTORPOOL_CA_FILE"))).build();
    channel = NettyChannelBuilder.forTarget(setting("MOTORPOOL_SERVER"), credentials).build();
    var bearer = new Bearer(setting("MOTORPOOL_TOKEN"));
    nodes = NodeServiceGrpc.newBlockingStub(channel).withCallCredentials(bearer);
    deployments = DeploymentServiceGrpc.newBlockingStub(channel).withCallCredentials(bearer);
    watches = WatchServiceGrpc.newBlockingStub(channel).withCallCredentials(bearer);
  }

  private void nodes() {
    var request = ListNodesRequest.newBuilder();
    do {
      var page = soon(nodes).listNodes(request.build());
      for (var node : page.getNodesList()) {
        System.out.printf(
            "%s %s %.1f GiB, %d devices%n",
            node.getName(), word(node.getState()), node.getHost().getMemoryBytes() / GIB, node.getDevicesCount());
      }
      request.setPageToken(page.getNextPageToken());
    } while (!request.getPageToken().isEmpty());
  }

  /** Creates a deployment, and returns when all of its instances run. */
  private void deploy(String id, String path) throws InterruptedException {
    var before = soon(deployments).listDeployments(ListDeploymentsRequest.newBuilder().setPageSize(1).build());
    var spec = DeploymentSpec.newBuilder().setModel(ModelSource.newBuilder().setLocalPath(path));
    var created =
        soon(deployments)
            .createDeployment(
                CreateDeploymentRequest.newBuilder()
                    .setDeploymentId(id)
                    .setDeployment(Deployment.newBuilder().setSpec(spec))
                    .build());
    System.out.println(created.getName() + " is accepted");
    watch(
        WatchRequest.newBuilder()
            .addAllKinds(List.of("deployments", "instances"))
            .setDeployment(created.getName())
            .setResumeToken(before.getResumeToken()), // from before it was made on: nothing of it is missed
        change -> {
          if (change.hasInstance()) {
            show(change.getInstance());
          } else if (change.getDeleted().equals(created.getName())) {
            throw new Failure(created.getName() + " was deleted by someone else while it came up");
          }
          var deployment = change.getDeployment();
          return deployment.getUid().equals(created.getUid())
              && deployment.getState() == DeploymentState.DEPLOYMENT_STATE_AVAILABLE;
        });
    var access =
        soon(deployments)
            .getDeploymentCredentials(
                GetDeploymentCredentialsRequest.newBuilder().setName(created.getName()).build());
    System.out.println("answers at " + String.join(", ", access.getEndpointsList()));
  }

  private void explain(String id) {
    var request = ExplainDeploymentRequest.newBuilder().setName("deployments/" + id).build();
    for (var each : soon(deployments).explainDeployment(request).getInstancesList()) {
      System.out.printf("%s %s %s%n", each.getInstance(), word(each.getState()), each.getVerdict());
      for (var refusal : each.getRefusalsList()) {
        System.out.printf("  %s: %s%n", refusal.getReason(), refusal.getMessage());
      }
    }
  }

  /** Deletes a deployment, and returns when nothing of it is left. */
  private void delete(String id) throws InterruptedException {
    var request = DeleteDeploymentRequest.newBuilder().setName("deployments/" + id).build();
    var leaving = soon(deployments).deleteDeployment(request);
    while (isThere(leaving)) {
      Thread.sleep(FIRST_DELAY_MILLISECONDS);
    }
    System.out.println(leaving.getName() + " is gone");
  }

  private boolean isThere(Deployment deployment) {
    try {
      var request = GetDeploymentRequest.newBuilder().setName(deployment.getName()).build();
      return soon(deployments).getDeployment(request).getUid().equals(deployment.getUid());
    } catch (StatusRuntimeException error) {
      if (error.getStatus().getCode() == Code.NOT_FOUND) {
        return false;
      }
      throw error;
    }
  }

  private static void show(Instance instance) {
    System.out.println(instance.getName() + " " + word(instance.getState()));
    if (instance.getState() == InstanceState.INSTANCE_STATE_ERROR) {
      throw new Failure(instance.getName() + " failed: " + instance.getLastFailure().getMessage());
    }
  }

  /**
   * Hands over every change after the request's resume token until {@code seen} says that it is enough. A controller
   * that goes away is waited for, and the watch goes on at its bookmark.
   */
  private void watch(WatchRequest.Builder request, Predicate<WatchResponse> seen) throws InterruptedException {
    for (var delay = FIRST_DELAY_MILLISECONDS; ; delay = Math.min(2 * delay, LONGEST_DELAY_MILLISECONDS)) {
      var call = Context.current().withCancellation();
      var outside = call.attach();
      try {
        for (Iterator<WatchResponse> changes = watches.watch(request.build()); changes.hasNext(); ) {
          var change = changes.next();
          delay = FIRST_DELAY_MILLISECONDS;
          if (!change.getResumeToken().isEmpty()) {
            request.setResumeToken(change.getResumeToken());
          }
          if (seen.test(change)) {
            return;
          }
        }
      } catch (StatusRuntimeException error) {
        switch (error.getStatus().getCode()) {
          case OUT_OF_RANGE: // away for longer than changes are kept: begin anew with all that exists
            request.clearResumeToken();
            break;
          case UNAVAILABLE:
            System.err.println("the watch broke off, and goes on at its bookmark");
            break;
          default:
            throw error;
        }
      } finally {
        call.detach(outside);
        call.cancel(null);
      }
      Thread.sleep(delay);
    }
  }

  private static <S extends AbstractStub<S>> S soon(S stub) {
    return stub.withDeadlineAfter(TIMEOUT_SECONDS, TimeUnit.SECONDS);
  }

  /** RUNNING from INSTANCE_STATE_RUNNING. */
  private static String word(Enum<?> state) {
    return state.name().replaceFirst("^[A-Z]+_STATE_", "");
  }

  private static String setting(String name) {
    var value = System.getenv(name);
    if (value == null || value.isEmpty()) {
      throw new Failure(name + " is not set");
    }
    return value;
  }

  /** Gives an error with the reason and the fields that the controller attached to it. */
  private static String describe(StatusRuntimeException error) {
    var reason = error.getStatus().getCode().name();
    var fields = new StringBuilder();
    var key = Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);
    var attached = error.getTrailers() == null ? null : error.getTrailers().get(key);
    try {
      for (Any detail : Status.parseFrom(attached == null ? new byte[0] : attached).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          reason = detail.unpack(ErrorInfo.class).getReason();
        } else if (detail.is(BadRequest.class)) {
          for (var violation : detail.unpack(BadRequest.class).getFieldViolationsList()) {
            fields.append("\n  ").append(violation.getField()).append(": ").append(violation.getDescription());
          }
        }
      }
    } catch (InvalidProtocolBufferException unreadable) {
      fields.append("\n  its details cannot be read: ").append(unreadable.getMessage());
    }
    return error.getStatus().getDescription() + " [" + reason + "]" + fields;
  }

  @Override
  public void close() {
    channel.shutdownNow();
  }

  /** Runs one command. */
  public static void main(String[] words) throws InterruptedException {
    var line = words.length == 0 ? "" : words[0] + " " + words.length;
    if (!List.of("nodes 1", "deploy 3", "explain 2", "delete 2").contains(line)) {
      System.err.println(USAGE);
      System.exit(2);
    }
    try (var motorpool = new Motorpool()) {
      switch (words[0]) {
        case "nodes":
          motorpool.nodes();
          break;
        case "deploy":
          motorpool.deploy(words[1], words[2]);
          break;
        case "explain":
          motorpool.explain(words[1]);
          break;
        default:
          motorpool.delete(words[1]);
      }
    } catch (StatusRuntimeException error) {
      System.err.println("error: " + describe(error));
      System.exit(1);
    } catch (Failure | IOException error) {
      System.err.println("error: " + error.getMessage());
      System.exit(1);
    }
  }
}
