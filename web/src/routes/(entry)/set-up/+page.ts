import { redirect } from '@sveltejs/kit';
import { i18n } from '$lib/i18n/index.svelte';
import { session } from '$lib/session.svelte';

export async function load({ parent, url }) {
  await Promise.all([parent(), i18n.need('account', 'errors')]);
  if (session.me === null) redirect(307, `/sign-in${url.search}`);
}
