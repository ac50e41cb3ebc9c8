import { redirect } from '@sveltejs/kit';
import { acting } from '$lib/access/acting.svelte';
import { i18n } from '$lib/i18n/index.svelte';
import { session } from '$lib/session.svelte';

export async function load({ parent, url }) {
  await Promise.all([parent(), i18n.need('home')]);
  if (session.me === null) redirect(307, `/sign-in?next=${encodeURIComponent(url.pathname + url.search)}`);
  if (session.me) await acting.start();
}
