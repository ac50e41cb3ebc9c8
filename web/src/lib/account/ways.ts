/** How somebody shows who she is, in the order they are offered. */
export const WAYS = ['passkey', 'totp', 'password', 'outside', 'recovery-code'] as const;
export type Way = (typeof WAYS)[number];

/** What goes to the server. */
export type Shown = { passkey: unknown } | { code: string } | { recovery_code: string } | { password: string };

/**
 * The ways to offer for what the server would take. A recovery code stands in for every second factor; a passkey is
 * offered only where the browser has them, unless it is the only way.
 */
export function waysOf(factors: readonly string[], passkeys: boolean): Way[] {
  const known = new Set(factors);
  if (known.has('passkey') || known.has('totp')) known.add('recovery-code');
  if (!passkeys && known.size > 1) known.delete('passkey');
  return WAYS.filter((way) => known.has(way));
}

/** A code as it is sent: people type spaces, and copy dashes. */
export const plainCode = (typed: string): string => typed.replace(/[\s-]/g, '');

/** A recovery code as it is sent. */
export const plainRecovery = (typed: string): string => typed.trim().toLowerCase().replace(/\s+/g, '');
