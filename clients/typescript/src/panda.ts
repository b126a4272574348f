import createClient, { type Client } from "openapi-fetch";

import type { components, paths } from "./api.js";
import { PandaError } from "./error.js";
import { follow, type DeploymentEvent, type FollowOptions } from "./follow.js";
import { limited, Patience, persist } from "./retry.js";

/** Time limit of a request, beside event streams (ms). */
const REQUEST_MS = 30_000;

type Schemas = components["schemas"];

/** The request of a deployment. */
export type Deploy = Schemas["Deploy"];
/** A started deployment. */
export type Deployed = Schemas["Deployed"];
/** Everything known about a deployment. */
export type Result = Schemas["DeploymentResult"];

export interface PandaOptions {
  /** Address of Panda, such as `https://panda.example.com`, with its base path if it has one. */
  server: string | URL;
  /** An API token, or a function that returns a valid one before each request, such as an OpenID Connect token of a workflow. */
  token?: string | (() => string | Promise<string>);
  /** Language of errors; English when absent. */
  language?: "ko" | "en";
  /** `globalThis.fetch` when absent. */
  fetch?: typeof fetch;
}

export interface DeployOptions {
  /** Makes repetitions of the same request one deployment; random when absent. */
  idempotencyKey?: string;
  /** Time for which an unreachable server is tried again (ms); 120,000 when absent. */
  giveUpAfterMs?: number;
  signal?: AbortSignal;
}

/** A Panda server. */
export class Panda {
  /** All calls of the API, by path, as its OpenAPI document describes them. */
  readonly api: Client<paths>;

  constructor(options: PandaOptions) {
    const baseUrl = new URL(options.server).href.replace(/\/+$/, "");
    this.api = createClient<paths>({ baseUrl, ...(options.fetch && { fetch: options.fetch }) });
    const { token, language } = options;
    this.api.use({
      async onRequest({ request }) {
        const bearer = typeof token === "function" ? await token() : token;
        if (bearer) request.headers.set("authorization", `Bearer ${bearer}`);
        if (language) request.headers.set("accept-language", language);
        return request;
      },
    });
  }

  /** Starts a deployment. Repeats the request while the server is unreachable; its key keeps that from starting a second one. */
  async deploy(body: Deploy, options: DeployOptions = {}): Promise<Deployed> {
    const key = options.idempotencyKey ?? uniqueKey();
    const { signal } = options;
    const params = { header: { "Idempotency-Key": key } };
    const send = (): Promise<Deployed> =>
      limited(REQUEST_MS, signal, async (within) => unwrap(await this.api.POST("/api/v1/deploy", { body, params, signal: within })));
    return persist(send, new Patience(options.giveUpAfterMs ?? 120_000, signal));
  }

  /** Returns the result of a deployment, in any state. */
  async result(id: string, signal?: AbortSignal): Promise<Result> {
    const params = { path: { id } };
    return limited(REQUEST_MS, signal, async (within) => unwrap(await this.api.GET("/api/v1/deploy/{id}/result", { params, signal: within })));
  }

  /** Yields the events of a deployment, each once and in order, through restarts of the server; returns its result. */
  events(id: string, options: FollowOptions = {}): AsyncGenerator<DeploymentEvent, Result> {
    const params = { path: { id } };
    return follow(
      {
        result: (signal) => this.result(id, signal),
        open: async (query, signal) => {
          const headers = { accept: "text/event-stream" };
          const answer = await this.api.GET("/api/v1/deploy/{id}/events", { params: { ...params, query }, headers, signal, parseAs: "stream" });
          if (!answer.response.ok) throw new PandaError(answer.response, answer.error);
          return answer.response;
        },
      },
      options,
    );
  }

  /** Follows a deployment, and returns its result. */
  async wait(id: string, options: FollowOptions & { onEvent?: (event: DeploymentEvent) => void } = {}): Promise<Result> {
    const events = this.events(id, options);
    for (;;) {
      const { done, value } = await events.next();
      if (done) return value;
      options.onEvent?.(value);
    }
  }
}

/** A key that no other request has. It is no secret, so that platforms without a global `crypto` need none. */
function uniqueKey(): string {
  const random = (): string => Math.random().toString(36).slice(2);
  return `${Date.now().toString(36)}-${random()}${random()}${random()}`;
}

/** Returns the data of a call of {@link Panda.api}; throws a {@link PandaError} for an error. */
export function unwrap<T>(answer: { data?: { data: T }; error?: unknown; response: Response }): T {
  if (!answer.response.ok || answer.data === undefined) throw new PandaError(answer.response, answer.error);
  return answer.data.data;
}
