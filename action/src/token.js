/** The credential of each request: the input, or the workflow's OpenID Connect token, which is requested again before it expires. */

import { InputError } from "./inputs.js";
import { mask } from "./runner.js";
import { limited, persist } from "./retry.js";
import { readJson, ServerError } from "./http.js";

/** Time limit of a request (ms). */
const REQUEST_MS = 30_000;

/** Time before its expiry at which a token is replaced. */
const MARGIN_MS = 60_000;

export function tokenSource({ token, audience, unreachableMs }) {
  if (token) {
    mask(token);
    return async () => token;
  }
  const { ACTIONS_ID_TOKEN_REQUEST_URL: url, ACTIONS_ID_TOKEN_REQUEST_TOKEN: secret } = process.env;
  if (!url || !secret) {
    throw new InputError("token: is missing, and the job may not request a token of GitHub. Give `permissions: { id-token: write }` to the job, or a `token`");
  }
  let current;
  let expiresAt = 0;
  return async (signal) => {
    if (current && Date.now() < expiresAt - MARGIN_MS) return current;
    current = await persist(() => limited(REQUEST_MS, signal, (within) => requestToken(url, secret, audience, within)), unreachableMs, signal);
    mask(current);
    expiresAt = expiry(current);
    return current;
  };
}

async function requestToken(url, secret, audience, signal) {
  const address = new URL(url);
  address.searchParams.set("audience", audience);
  const response = await fetch(address, { headers: { authorization: `Bearer ${secret}` }, redirect: "error", signal });
  const body = await readJson(response);
  if (!response.ok) throw new ServerError(response, { message: `GitHub gives the job no token: ${response.status} ${body?.message ?? ""}` });
  if (typeof body?.value !== "string" || body.value === "") throw new Error("GitHub's answer has no token");
  return body.value;
}

/** The time in the token's claims; an unreadable token is requested again for each request, and Panda refuses it. */
function expiry(token) {
  try {
    const { exp } = JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
    return Number.isFinite(exp) ? exp * 1000 : 0;
  } catch {
    return 0;
  }
}
