/** Pauses between attempts. */

const BACK_OFF_MS_MIN = 100;

/**
 * Returns how long to wait before another attempt, milliseconds: doubled each time, with a random half so that callers spread.
 *
 * @param attempt Attempts that failed before this one, >= 0.
 * @param most The longest pause, milliseconds.
 * @param asked What the server asks for, milliseconds; it is kept to.
 */
export function pauseMs(attempt: number, most: number, asked = 0): number {
  const whole = Math.min(most, BACK_OFF_MS_MIN * 2 ** Math.min(attempt, 20));
  return Math.max(asked, whole / 2 + (Math.random() * whole) / 2);
}

/** Waits, or until `signal` is aborted, which is no failure. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener("abort", done);
  });
}
