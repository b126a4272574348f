/** Longest event (characters). */
const LONGEST = 4 * 1024 * 1024;

/** Reads the events of a stream of Panda, which has one `data` line an event; `alive` is called for whatever arrives. */
export async function* messages(body, alive) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const part of body) {
    alive();
    rest += decoder.decode(part, { stream: true });
    if (rest.length > LONGEST) throw new Error("an event is longer than 4 MiB: is this a Panda?");
    const blocks = rest.split("\n\n");
    // A message without its blank line is incomplete: the next connection delivers it again.
    rest = blocks.pop();
    for (const block of blocks) {
      const { id = "", event: type = "", data } = parse(block);
      if (!data || !["stage", "success", "fail"].includes(type)) continue;
      yield { id, type, message: String(JSON.parse(data).message ?? "") };
    }
  }
}

function parse(block) {
  const fields = block.split("\n").map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
  });
  return Object.fromEntries(fields);
}
