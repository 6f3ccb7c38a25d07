// @ts-check
// What tests ask of binary parts.

import { floats, putBack } from "../../mullama_nb/widgets/front_end/binary.js";

/**
 * A message as a view sees it; its binary parts are lists of the numbers that they hold.
 *
 * @param {{ buffer_paths?: (string | number)[][], [name: string]: any }} message
 * @param {number[][]} buffers the bytes of each
 * @param {boolean} asViews whether they come as views of a larger buffer
 */
export function received(message, buffers, asViews) {
  const parts = buffers.map((bytes) => {
    const { buffer } = new Uint8Array([...(asViews ? [0] : []), ...bytes]);
    return asViews ? new DataView(buffer, 1) : buffer;
  });
  putBack(message, parts);
  return JSON.parse(JSON.stringify(message, (_, value) => {
    return value instanceof DataView ? [...floats(value)] : value;
  }));
}
