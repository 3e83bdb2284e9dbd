// What a call that failed was told: the stable reason, and the fields that are wrong.

import { Code, ConnectError } from "@connectrpc/connect";

import { BadRequestSchema, ErrorInfoSchema } from "./gen/google/rpc/status_pb.js";

/** What this program itself has to say against going on. */
export class Failure extends Error {}

/** Gives an error as people are told it: its message, its reason of motorpool/v1/error_reason.proto, wrong fields. */
export function described(error: ConnectError): string {
  const reason = error.findDetails(ErrorInfoSchema)[0]?.reason ?? Code[error.code];
  const fields = error
    .findDetails(BadRequestSchema)
    .flatMap((request) => request.fieldViolations)
    .map((violation) => `\n  ${violation.field}: ${violation.description}`);
  return `${error.rawMessage} [${reason}]${fields.join("")}`;
}
