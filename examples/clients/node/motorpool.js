// One connection to a controller: the channel, its services, and errors that carry their reason.

import { readFileSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import { parse as parseToml } from "smol-toml";

const HERE = dirname(fileURLToPath(import.meta.url));
const PROTOS = join(HERE, "..", "..", "..", "proto"); // take the folder along when you copy this one
const TIMEOUT_MILLISECONDS = 20_000;
const FIRST_DELAY_MILLISECONDS = 200;
const LONGEST_DELAY_MILLISECONDS = 5_000;

const SERVICES = ["Cluster", "Node", "Deployment", "Instance"];

/** A call that failed: `reason` is the stable one of motorpool/v1/error_reason.proto, or the name of the gRPC code. */
export class MotorpoolError extends Error {
  constructor(reason, message, metadata = {}) {
    super(message);
    this.name = "MotorpoolError";
    this.reason = reason;
    this.metadata = metadata;
  }
}

/** Gives what a client file says, as `motorpool-controller init` writes it: server, ca (bytes of the PEM) and token. */
export function readClientFile(path = process.env.MOTORPOOL_CONFIG || defaultClientFile()) {
  let table;
  try {
    table = parseToml(readFileSync(path, "utf8"));
  } catch (error) {
    throw new MotorpoolError("CLIENT_CONFIG_INVALID", `The client file ${path} cannot be read: ${error.message}`);
  }
  for (const key of ["server", "ca_file", "token"]) {
    if (typeof table[key] !== "string") {
      throw new MotorpoolError("CLIENT_CONFIG_INVALID", `The client file ${path} has no ${key}.`);
    }
  }
  const caFile = resolve(dirname(path), table.ca_file);
  try {
    return { server: table.server, ca: readFileSync(caFile), token: table.token };
  } catch (error) {
    throw new MotorpoolError("CLIENT_CONFIG_INVALID", `The authority's certificate cannot be read: ${error.message}`);
  }
}

/** Opens a channel over TLS, and gives `{ cluster, node, deployment, instance, watch, close }`. */
export function connect({ server, ca, token }) {
  const definition = load();
  const api = grpc.loadPackageDefinition(definition).motorpool.v1;
  const credentials = grpc.credentials.combineChannelCredentials(
    grpc.credentials.createSsl(ca),
    grpc.credentials.createFromMetadataGenerator((_call, done) => {
      const metadata = new grpc.Metadata();
      metadata.set("authorization", `Bearer ${token}`);
      done(null, metadata);
    }),
  );
  // https_proxy is obeyed elsewhere; no proxy leads back to this machine. TLS wants a name where Node would send the
  // bare address, and every controller's certificate is for localhost too.
  const options = isLoopback(server)
    ? { "grpc.enable_http_proxy": 0, "grpc.ssl_target_name_override": "localhost" }
    : {};
  const channel = new grpc.Channel(server, credentials, options);
  const open = (service) => new service(server, credentials, { ...options, channelOverride: channel });
  const connection = { close: () => channel.close() };
  for (const name of SERVICES) {
    const service = api[`${name}Service`];
    connection[name.toLowerCase()] = promising(open(service), Object.keys(service.service), definition);
  }
  const watcher = open(api.WatchService);
  connection.watch = (request) => watch(watcher, definition, request);
  return connection;
}

function load() {
  const folder = join(PROTOS, "motorpool", "v1");
  const files = readdirSync(folder).filter((name) => name.endsWith(".proto"));
  return protoLoader.loadSync([...files.map((name) => `motorpool/v1/${name}`), "google/rpc/status.proto"], {
    includeDirs: [PROTOS, join(HERE, "..")],
    longs: Number, // bytes of memory stay below 2^53
    enums: String,
    defaults: true,
    oneofs: true,
  });
}

/** Gives a service whose methods return promises: `await connection.node.ListNodes({})`. */
function promising(stub, methods, definition) {
  const call = (method) => (request = {}) =>
    new Promise((done, fail) => {
      const options = { deadline: Date.now() + TIMEOUT_MILLISECONDS };
      stub[method](request, options, (error, answer) => (error ? fail(failure(error, definition)) : done(answer)));
    });
  return Object.fromEntries(methods.map((method) => [method, call(method)]));
}

/**
 * Gives every change from `request.resumeToken` on; an empty token begins with all that exists.
 *
 * A controller that goes away is waited for, and the watch goes on where it was. Leave the loop to end it.
 */
async function* watch(stub, definition, request) {
  let { resumeToken = "" } = request;
  let delay = FIRST_DELAY_MILLISECONDS;
  for (;;) {
    const call = stub.Watch({ ...request, resumeToken });
    try {
      for await (const change of call) {
        resumeToken = change.resumeToken || resumeToken;
        delay = FIRST_DELAY_MILLISECONDS;
        yield change;
      }
    } catch (error) {
      if (error.code === grpc.status.OUT_OF_RANGE) {
        resumeToken = ""; // away for longer than changes are kept: begin anew with all that exists
      } else if (error.code !== grpc.status.UNAVAILABLE) {
        throw failure(error, definition);
      }
    } finally {
      call.cancel();
    }
    await new Promise((done) => setTimeout(done, delay));
    delay = Math.min(2 * delay, LONGEST_DELAY_MILLISECONDS);
  }
}

/** Gives the error with the reason that the controller attached to its status. */
function failure(error, definition) {
  const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
  for (const detail of bytes ? definition["google.rpc.Status"].deserialize(bytes).details : []) {
    if (detail.type_url.endsWith("/google.rpc.ErrorInfo")) {
      const info = definition["google.rpc.ErrorInfo"].deserialize(detail.value);
      return new MotorpoolError(info.reason, error.details, info.metadata);
    }
  }
  return new MotorpoolError(grpc.status[error.code] ?? "UNKNOWN", error.details ?? error.message);
}

function isLoopback(server) {
  const host = server.slice(0, server.lastIndexOf(":")).replace(/[[\]]/g, "");
  return host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

function defaultClientFile() {
  return join(process.env.XDG_CONFIG_HOME || join(homedir(), ".config"), "motorpool", "client.toml");
}
