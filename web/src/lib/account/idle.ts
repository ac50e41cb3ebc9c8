// When a screen that nobody touches is locked. Pure: the caller brings the clock.

export interface Limits {
  /** Without a touch for so long, the screen is locked. */
  idleMs: number;
  /** The session ends then whatever happens, on the same clock as `now`. */
  endsAt: number;
}
export type Presence =
  | { state: 'here' }
  /** Locks in so many seconds. */
  | { state: 'warn'; leftS: number }
  /** Ends in so many seconds, however much is done. */
  | { state: 'ending'; leftS: number }
  | { state: 'over'; reason: 'idle' | 'ended' };

/** The warning before a lock; a quarter of a short limit. */
export const WARN_MS = 60_000;
/** The word before a session ends in any case. */
export const ENDING_MS = 5 * 60_000;
/** The server moves its limit at most once a minute; it is told of a touch that often. */
export const TELL_MS = 60_000;

export function presence(now: number, touched: number, limits: Limits): Presence {
  if (now >= limits.endsAt) return { state: 'over', reason: 'ended' };
  const idleLeft = touched + limits.idleMs - now;
  if (idleLeft <= 0) return { state: 'over', reason: 'idle' };
  if (idleLeft <= Math.min(WARN_MS, limits.idleMs / 4)) return { state: 'warn', leftS: Math.ceil(idleLeft / 1000) };
  const left = limits.endsAt - now;
  if (left <= ENDING_MS) return { state: 'ending', leftS: Math.ceil(left / 1000) };
  return { state: 'here' };
}

/** Whether the server should hear of a touch it does not know of. */
export function tells(now: number, touched: number, told: number): boolean {
  return touched > told && now - told >= TELL_MS;
}

/** What the server says about a session, on our clock. Its own times are used only where it does not count for us. */
export function limitsOf(
  facts: { idle_limit_s?: number; left_s?: number; idle_expires_at: string; expires_at: string },
  now: number
): Limits {
  return {
    idleMs: facts.idle_limit_s !== undefined ? facts.idle_limit_s * 1000 : Math.max(0, Date.parse(facts.idle_expires_at) - now),
    endsAt: facts.left_s !== undefined ? now + facts.left_s * 1000 : Date.parse(facts.expires_at)
  };
}
