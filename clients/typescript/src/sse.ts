/** A message of an event stream. */
export interface Message {
  id: string;
  event: string;
  data: string;
}

/** Longest message (characters); the longest of Panda is a build line of 64 KiB. */
const LONGEST = 4 * 1024 * 1024;

/**
 * Reads the messages of an event stream of Panda, which has one `data` line a message. Comments only show that the connection is alive.
 *
 * `alive` is called for whatever arrives.
 */
export async function* messages(body: ReadableStream<Uint8Array>, alive: () => void): AsyncGenerator<Message, void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      // A message without its blank line is incomplete: the next connection delivers it again.
      if (done) return;
      alive();
      rest += decoder.decode(value, { stream: true });
      if (rest.length > LONGEST) throw new Error("an event is longer than 4 MiB: is this a Panda?");
      const blocks = rest.split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const message = parse(block);
        if (message) yield message;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function parse(block: string): Message | undefined {
  const message: Message = { id: "", event: "", data: "" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon);
    if (name === "id" || name === "event" || name === "data") message[name] = line.slice(colon + 1).replace(/^ /, "");
  }
  return message.event === "" ? undefined : message;
}
