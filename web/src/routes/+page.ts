import { redirect } from '@sveltejs/kit';
import { homeOf } from '$lib/portals';
import { session } from '$lib/session.svelte';

export async function load({ parent }) {
  await parent();
  if (session.me) redirect(307, homeOf(session.me));
  if (session.me === null) redirect(307, '/sign-in');
}
