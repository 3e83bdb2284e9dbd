// One connection to a controller: its services with their types, deadlines, and a watch that outlives the controller.

import { readFileSync } from "node:fs";

import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Client, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { DeploymentService } from "./gen/motorpool/v1/deployment_service_pb.js";
import { NodeService } from "./gen/motorpool/v1/node_service_pb.js";
import { WatchService, type WatchRequestSchema, type WatchResponse } from "./gen/motorpool/v1/watch_service_pb.js";

const TIMEOUT_MILLISECONDS = 20_000;
const FIRST_DELAY_MILLISECONDS = 200;
const LONGEST_DELAY_MILLISECONDS = 5_000;

/** Where a controller is, and who asks. */
export interface Place {
  server: string;
  caFile: string;
  token: string;
}

/** The services that this program calls, over one connection. */
export interface Controller {
  nodes: Client<typeof NodeService>;
  deployments: Client<typeof DeploymentService>;
  watch(request: MessageInitShape<typeof WatchRequestSchema>): AsyncGenerator<WatchResponse>;
}

/** Opens a connection over TLS that trusts the cluster's authority and nobody else. */
export function connect({ server, caFile, token }: Place): Controller {
  const bearer: Interceptor = (next) => (request) => {
    request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const ca = readFileSync(caFile);
  const common = { baseUrl: `https://${server}`, nodeOptions: { ca }, interceptors: [bearer] };
  const soon = createGrpcTransport({ ...common, defaultTimeoutMs: TIMEOUT_MILLISECONDS });
  const endless = createClient(WatchService, createGrpcTransport(common));
  return {
    nodes: createClient(NodeService, soon),
    deployments: createClient(DeploymentService, soon),
    watch: (request) => watch(endless, request),
  };
}

/**
 * Gives every change after `request.resumeToken`; an empty token begins with all that exists.
 *
 * A controller that goes away is waited for, and the watch goes on at its bookmark. Leave the loop to end it.
 */
async function* watch(
  client: Client<typeof WatchService>,
  request: MessageInitShape<typeof WatchRequestSchema>,
): AsyncGenerator<WatchResponse> {
  let resumeToken = request.resumeToken ?? "";
  let delay = FIRST_DELAY_MILLISECONDS;
  for (;;) {
    try {
      for await (const change of client.watch({ ...request, resumeToken })) {
        resumeToken = change.resumeToken || resumeToken;
        delay = FIRST_DELAY_MILLISECONDS;
        yield change;
      }
    } catch (error) {
      const { code } = ConnectError.from(error);
      if (code === Code.OutOfRange) {
        resumeToken = ""; // away for longer than changes are kept: begin anew with all that exists
      } else if (code === Code.Unavailable || code === Code.Canceled) {
        // Node's HTTP/2 calls a stream canceled whose connection is gone, and nobody here cancels one.
        console.error("the watch broke off, and goes on at its bookmark");
      } else {
        throw error;
      }
    }
    await pause(delay);
    delay = Math.min(2 * delay, LONGEST_DELAY_MILLISECONDS);
  }
}

/** Returns after so many milliseconds. */
export function pause(milliseconds: number): Promise<void> {
  return new Promise((done) => setTimeout(done, milliseconds));
}
