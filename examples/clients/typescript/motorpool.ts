// A small `motorpool` in TypeScript: nodes | deploy NAME MODEL | explain NAME | delete NAME

import { Code, ConnectError } from "@connectrpc/connect";

import { connect, pause, type Controller } from "./client.js";
import { Failure, described } from "./errors.js";
import { DeploymentState, type Deployment } from "./gen/motorpool/v1/deployment_pb.js";
import { InstanceState, type Instance } from "./gen/motorpool/v1/instance_pb.js";
import { NodeState } from "./gen/motorpool/v1/node_pb.js";

const GIB = 2 ** 30;
const ASK_AGAIN_MILLISECONDS = 200;
const USAGE = "usage: motorpool nodes | deploy NAME /path/on/the/nodes/model.gguf | explain NAME | delete NAME";

type Command = { words: number; run: (controller: Controller, ...words: string[]) => Promise<void> };

const COMMANDS: Record<string, Command> = {
  nodes: { words: 0, run: nodes },
  deploy: { words: 2, run: deploy },
  explain: { words: 1, run: explain },
  delete: { words: 1, run: remove },
};

async function nodes({ nodes }: Controller): Promise<void> {
  for (let pageToken = ""; ; ) {
    const page = await nodes.listNodes({ pageToken });
    for (const node of page.nodes) {
      // 64-bit numbers are bigint: bytes of memory stay below 2^53.
      const memory = (Number(node.host?.memoryBytes ?? 0n) / GIB).toFixed(1);
      console.log(`${node.name} ${NodeState[node.state]} ${memory} GiB, ${node.devices.length} devices`);
    }
    if (!(pageToken = page.nextPageToken)) {
      return;
    }
  }
}

/** Creates a deployment, and returns when all of its instances run. */
async function deploy({ deployments, watch }: Controller, deploymentId = "", localPath = ""): Promise<void> {
  const { resumeToken } = await deployments.listDeployments({ pageSize: 1 });
  const deployment = { spec: { model: { source: { case: "localPath" as const, value: localPath } } } };
  const created = await deployments.createDeployment({ deploymentId, deployment });
  console.log(`${created.name} is accepted`);
  // From before it was made on: nothing of it is missed.
  for await (const { change } of watch({
    resumeToken,
    kinds: ["deployments", "instances"],
    deployment: created.name,
  })) {
    if (change.case === "instance") {
      show(change.value);
    } else if (change.case === "deleted" && change.value === created.name) {
      throw new Failure(`${created.name} was deleted by someone else while it came up`);
    } else if (change.case === "deployment" && isUp(change.value, created)) {
      break;
    }
  }
  const { endpoints } = await deployments.getDeploymentCredentials({ name: created.name });
  console.log(`answers at ${endpoints.join(", ")}`);
}

function isUp(seen: Deployment, created: Deployment): boolean {
  return seen.uid === created.uid && seen.state === DeploymentState.AVAILABLE;
}

function show(instance: Instance): void {
  console.log(`${instance.name} ${InstanceState[instance.state]}`);
  if (instance.state === InstanceState.ERROR) {
    throw new Failure(`${instance.name} failed: ${instance.lastFailure?.message ?? "it does not say why"}`);
  }
}

async function explain({ deployments }: Controller, id = ""): Promise<void> {
  const { instances } = await deployments.explainDeployment({ name: `deployments/${id}` });
  for (const { instance, state, verdict, refusals } of instances) {
    console.log(`${instance} ${InstanceState[state]} ${verdict}`);
    for (const { reason, message } of refusals) {
      console.log(`  ${reason}: ${message}`);
    }
  }
}

/** Deletes a deployment, and returns when nothing of it is left. */
async function remove({ deployments }: Controller, id = ""): Promise<void> {
  const leaving = await deployments.deleteDeployment({ name: `deployments/${id}` });
  while (await isThere(leaving, deployments)) {
    await pause(ASK_AGAIN_MILLISECONDS);
  }
  console.log(`${leaving.name} is gone`);
}

async function isThere({ name, uid }: Deployment, deployments: Controller["deployments"]): Promise<boolean> {
  try {
    return (await deployments.getDeployment({ name })).uid === uid;
  } catch (error) {
    if (ConnectError.from(error).code === Code.NotFound) {
      return false;
    }
    throw error;
  }
}

function given(name: string): string {
  const value = process.env[name];
  if (!value) {
    throw new Failure(`${name} is not set`);
  }
  return value;
}

const [name = "", ...words] = process.argv.slice(2);
const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
if (command === undefined || command.words !== words.length) {
  console.error(USAGE);
  process.exit(2);
}
try {
  const place = {
    server: given("MOTORPOOL_SERVER"),
    caFile: given("MOTORPOOL_CA_FILE"),
    token: given("MOTORPOOL_TOKEN"),
  };
  await command.run(connect(place), ...words);
  process.exit(0); // a connection that idles keeps Node alive
} catch (error) {
  if (error instanceof Failure) {
    console.error(`error: ${error.message}`);
  } else {
    console.error(`error: ${described(ConnectError.from(error))}`);
  }
  process.exit(1);
}
