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

/** Where to go after signing in: only a page of this site, as a link must not send the reader elsewhere. */
export function ownPath(wanted: string | null, origin: string): string | undefined {
  if (!wanted?.startsWith('/')) return undefined;
  try {
    // As the browser reads it: `//host`, `/\host` and tabs or line breaks between them lead away.
    const url = new URL(wanted, origin);
    return url.origin === origin ? url.pathname + url.search + url.hash : undefined;
  } catch {
    return undefined;
  }
}
