import { i18n } from '$lib/i18n/index.svelte';
import { session } from '$lib/session.svelte';

export const ssr = false;
export const prerender = false;
export const trailingSlash = 'ignore';

/** The words and the reader, asked for at the same time. */
export async function load() {
  await Promise.all([i18n.need('core'), session.me === undefined ? session.start() : undefined]);
}
