import { redirect } from '@sveltejs/kit';
import { homeOf, ownPath } from '$lib/portals';
import { session } from '$lib/session.svelte';

/** Who is signed in and comes here by the back button goes on. */
export async function load({ parent, url }) {
  await parent();
  if (session.me) redirect(307, ownPath(url.searchParams.get('next'), url.origin) ?? homeOf(session.me));
}
