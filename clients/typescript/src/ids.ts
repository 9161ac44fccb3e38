/** Ids that make another attempt count once. */

let last = 0n;

/**
 * Returns a UUID of version 7, greater than all before it in this process, so that events of one millisecond stay in order.
 *
 * Source: RFC 9562, section 6.2, method 1: twelve bits count within a millisecond.
 */
export function newId(): string {
  const now = BigInt(Date.now()) << 12n;
  last = now > last ? now : last + 1n;
  const head = last.toString(16).padStart(15, "0");
  const chance = crypto.getRandomValues(new Uint8Array(8));
  chance[0] = ((chance[0] ?? 0) & 0x3f) | 0x80;
  const tail = Array.from(chance, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${head.slice(0, 8)}-${head.slice(8, 12)}-7${head.slice(12)}-${tail.slice(0, 4)}-${tail.slice(4)}`;
}
