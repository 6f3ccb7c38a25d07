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
 * The numbers of an array in Python, `array.astype("<f4").tobytes()` or such; none where it is not.
 *
 * @template {Int32Array | Uint32Array | Float32Array | Float64Array} Numbers
 * @param {DataView | undefined} data
 * @param {new (buffer: ArrayBuffer) => Numbers} Kind
 */
export function numbers(data, Kind) {
  if (!data) return new Kind(new ArrayBuffer(0));
  const { buffer, byteOffset, byteLength } = data;
  const aligned = buffer.slice(byteOffset, byteOffset + byteLength);
  return new Kind(/** @type {ArrayBuffer} */ (aligned));
}

/**
 * The numbers that Python's `array.astype("<f4").tobytes()` holds.
 *
 * @param {DataView} data
 */
export function floats(data) {
  return numbers(data, Float32Array);
}
