/**
 * A pause of `ms` that `wake` or an aborted `signal` ends early.
 *
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {{ done: Promise<void>, wake: () => void }}
 */
export function pause(ms, signal) {
  let wake = () => {};
  const done = new Promise((resolve) => {
    const timer = setTimeout(() => wake(), ms);
    wake = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", wake);
      resolve();
    };
    signal.addEventListener("abort", wake);
    if (signal.aborted) wake();
  });
  return { done, wake: () => wake() };
}
