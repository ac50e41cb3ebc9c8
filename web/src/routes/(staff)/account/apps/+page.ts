import { redirect } from '@sveltejs/kit';
import { i18n } from '$lib/i18n/index.svelte';
import { session } from '$lib/session.svelte';

/** The address that discovery names for everybody: patients have the page in their own portal. */
export async function load({ parent }) {
  await Promise.all([parent(), i18n.need('access')]);
  if (session.me && !session.staff) redirect(307, '/settings/apps');
}
