// @ts-check
// Binary parts of messages.

/**
 * Put the binary parts of a message back where they were, as ipywidgets does with those of traits.
 *
 * @param {{ buffer_paths?: (string | number)[][], [name: string]: any }} message
 * @param {(DataView | ArrayBuffer)[]} [buffers]
 */
export function putBack(message, buffers = []) {
  (message.buffer_paths ?? []).forEach((path, n) => {
    let at = message;
    for (const step of path.slice(0, -1)) at = at[step];
    const found = buffers[n];
    at[path[path.length - 1]] = found instanceof ArrayBuffer ? new DataView(found) : found;
  });
}

/**
 * The numbers that Python's `array.astype("<f4").tobytes()` holds.
 *
 * @param {DataView} data
 */
export function floats(data) {
  const { buffer, byteOffset, byteLength } = data;
  return new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength)); // aligned
}
