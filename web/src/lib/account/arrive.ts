import { goto } from '$app/navigation';
import type { Opened } from '$lib/api/types';
import { homeOf } from '$lib/portals';
import { session } from '$lib/session.svelte';

/** How long a refused proposal of a second factor is not made again. */
const QUIET_DAYS = 14;
const ASKED = 'uzima.second-factor-asked';

/** Whether to propose a second factor now; `seen` notes that it was. */
export function proposes(account: string, now: Date, storage: Pick<Storage, 'getItem'>): boolean {
  try {
    const kept = JSON.parse(storage.getItem(ASKED) ?? '{}') as Record<string, string>;
    const last = kept[account];
    return !last || now.getTime() - new Date(last).getTime() > QUIET_DAYS * 86_400_000;
  } catch {
    return true;
  }
}
export function proposed(account: string, now: Date, storage: Pick<Storage, 'getItem' | 'setItem'>): void {
  try {
    const kept = JSON.parse(storage.getItem(ASKED) ?? '{}') as Record<string, string>;
    storage.setItem(ASKED, JSON.stringify({ ...kept, [account]: now.toISOString() }));
  } catch {
    // Without storage it is proposed at each sign-in.
  }
}

/** Takes a session that has just begun and goes on: to what is due, to what the clinic proposes, or to the wanted page. */
export async function arrive(reply: Opened, next?: string): Promise<void> {
  const me = await session.opened(reply);
  const wanted = next ?? homeOf(me);
  const through = (step: string) => goto(`/set-up?${step}next=${encodeURIComponent(wanted)}`, { replaceState: true });
  if (reply.due) await through('');
  else if (reply.second_factor_asked && proposes(me.account_id, new Date(), localStorage)) await through('asked=1&');
  else await goto(wanted, { replaceState: true });
}
