import { redirect } from '@sveltejs/kit';
import { acting } from '$lib/access/acting.svelte';
import { i18n } from '$lib/i18n/index.svelte';
import { session } from '$lib/session.svelte';

/** Whoever is not signed in signs in first and comes back to the same request. */
export async function load({ parent, url }) {
  await Promise.all([parent(), i18n.need('shared', 'staff', 'access', 'errors')]);
  if (session.me === null) redirect(307, `/sign-in?next=${encodeURIComponent(url.pathname + url.search)}`);
  if (session.me) await acting.start();
}
