#!/usr/bin/env node
// A small `motorpool` in Node.js: node main.js nodes | deploy NAME MODEL | explain NAME | delete NAME

import { MotorpoolError, connect, readClientFile } from "./motorpool.js";

const GIB = 2 ** 30;
const USAGE = "usage: node main.js nodes | deploy NAME /path/on/the/nodes/model.gguf | explain NAME | delete NAME";

// Refusals that end by themselves: the agents are being asked, or are on their way.
const WAITING_HELPS = new Set(["MODEL_NOT_READ_YET", "NODE_NOT_READY"]);

const COMMANDS = {
  async nodes(connection) {
    for (let pageToken = ""; ; ) {
      const page = await connection.node.ListNodes({ pageToken });
      for (const node of page.nodes) {
        const memory = node.host ? `${(node.host.memoryBytes / GIB).toFixed(1)} GiB` : "unknown memory";
        console.log(`${node.name}  ${word(node.state)}  ${memory}  ${node.devices.length} devices`);
      }
      pageToken = page.nextPageToken;
      if (!pageToken) {
        return;
      }
    }
  },

  async deploy(connection, name, path) {
    const created = await connection.deployment.CreateDeployment({
      deploymentId: name,
      deployment: { spec: { model: { localPath: path } } },
    });
    console.log(`${created.name} is accepted`);
    let seen = "";
    for await (const change of connection.watch({ kinds: ["deployments", "instances"], deployment: created.name })) {
      const { instance, deployment } = change;
      if (instance) {
        const line = `${instance.name}  ${word(instance.state)}`;
        if (line !== seen) {
          console.log((seen = line));
        }
        giveUpIfHopeless(instance);
      } else if (deployment?.uid === created.uid && deployment.state === "DEPLOYMENT_STATE_AVAILABLE") {
        break;
      } else if (change.deleted === created.name) {
        throw new MotorpoolError("DELETED", `${created.name} was deleted by someone else while it came up.`);
      }
    }
    const { endpoints } = await connection.deployment.GetDeploymentCredentials({ name: created.name });
    console.log(`answers at ${endpoints.join(", ")}`);
  },

  async explain(connection, name) {
    const { estimate, instances } = await connection.deployment.ExplainDeployment({ name: `deployments/${name}` });
    if (estimate?._upperBytes) {
      console.log(`needs ${(estimate.upperBytes / GIB).toFixed(3)} GiB (${estimate.provenance})`);
    }
    for (const { instance, state, verdict, refusals } of instances) {
      console.log(`${instance}  ${word(state)}  ${verdict}`);
      for (const refusal of refusals) {
        console.log(`  ${refusal.reason}: ${refusal.message}`);
      }
    }
  },

  async delete(connection, name) {
    const full = `deployments/${name}`;
    const { uid } = await connection.deployment.DeleteDeployment({ name: full });
    for (;;) {
      try {
        if ((await connection.deployment.GetDeployment({ name: full })).uid !== uid) {
          break; // gone, and made again by someone else
        }
      } catch (error) {
        if (error.reason === "NOT_FOUND") {
          break;
        }
        throw error;
      }
      await new Promise((done) => setTimeout(done, 200));
    }
    console.log(`${full} is gone`);
  },
};

function giveUpIfHopeless({ name, state, refusals, lastFailure }) {
  if (state === "INSTANCE_STATE_PENDING" && refusals.length) {
    if (!refusals.some((refusal) => WAITING_HELPS.has(refusal.reason))) {
      const rows = refusals.map((refusal) => `\n  - ${refusal.message}`).join("");
      throw new MotorpoolError(refusals[0].reason, `${name} fits nowhere now:${rows}`);
    }
  } else if (state === "INSTANCE_STATE_ERROR") {
    throw new MotorpoolError(lastFailure?.reason || "INSTANCE_ERROR", `${name} failed: ${lastFailure?.message}`);
  }
}

/** RUNNING from INSTANCE_STATE_RUNNING. */
function word(state) {
  return state.replace(/^[A-Z]+_STATE_/, "");
}

const [command, ...words] = process.argv.slice(2);
if (!Object.hasOwn(COMMANDS, command ?? "") || words.length !== COMMANDS[command].length - 1) {
  console.error(USAGE);
  process.exit(2);
}
let connection;
try {
  connection = connect(readClientFile());
  await COMMANDS[command](connection, ...words);
} catch (error) {
  if (!(error instanceof MotorpoolError)) {
    throw error;
  }
  console.error(`error: ${error.message} [${error.reason}]`);
  process.exitCode = 1;
} finally {
  connection?.close();
}
