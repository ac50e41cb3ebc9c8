import type { Me } from '$lib/api/types';

/** The screens each signed-in person starts on. */
export function homeOf(me: Me): string {
  const has = (...roles: Me['roles']) => roles.some((role) => me.roles.includes(role));
  if (has('doctor', 'nurse')) return '/clinic';
  if (has('front-desk')) return '/desk';
  if (has('cashier')) return '/cashier';
  if (has('administrator', 'privacy-officer', 'it')) return '/admin';
  return '/home';
}
