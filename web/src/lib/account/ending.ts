// How a session ends: signing out, locking, and the same in the other tabs of this browser.
import { ApiError, request } from '$lib/api/client';
import type { SessionFacts } from '$lib/api/types';
import { session, type LockReason } from '$lib/session.svelte';

type TabMessage = { type: 'lock'; reason: LockReason } | { type: 'open'; account: string } | { type: 'out' };

/** Set while the server has not been told of a lock; the next start tells it. */
const UNTOLD = 'uzima.locked';
const tabs = typeof BroadcastChannel === 'undefined' ? undefined : new BroadcastChannel('uzima.session');
tabs?.addEventListener('message', (event: MessageEvent<TabMessage>) => hear(event.data));

/** To every other tab of this browser. */
export function tell(message: TabMessage): void {
  tabs?.postMessage(message);
}

function hear(message: TabMessage): void {
  if (!session.me) return;
  if (message.type === 'lock') cover(message.reason);
  else if (message.type === 'out') location.replace('/sign-in');
  // The cookie is another person's now: this page must not go on under her name.
  else if (message.account !== session.me.account_id) location.replace('/');
  else if (session.lock) session.answer(true);
}

/** Ends the session at the server; returns where an outside provider ends its own. Without a connection the next start of the page does it. */
export async function end(): Promise<string | undefined> {
  untold(true);
  try {
    const reply = await request<{ provider_logout?: string } | undefined>('POST', 'auth/logout', { body: {}, anonymous: true });
    untold(false);
    return reply?.provider_logout;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    // A session that has ended already needs no ending.
    if (!error.offline && error.status < 500) untold(false);
    return undefined;
  }
}

export async function signOut(): Promise<void> {
  let next: string | undefined;
  try {
    next = await end();
  } finally {
    tell({ type: 'out' });
    // A full load, so that nothing of this person stays in memory on a shared device.
    location.replace(next ?? '/sign-in');
  }
}

/** Hides the page at once: what draws the lock may still be on its way. */
function cover(reason: LockReason): void {
  document.documentElement.classList.add('locked');
  session.lock ??= reason;
}

/** Covers the page in every tab and ends the session; what was typed stays for the same person. */
export async function lockNow(reason: LockReason): Promise<void> {
  if (!session.me || session.lock) return;
  cover(reason);
  tell({ type: 'lock', reason });
  await end();
}

/** Somebody signed in on the lock screen. */
export function unlocked(): void {
  untold(false);
  session.answer(true);
}

/** Asks the server whether the session still stands; what it answers moves the limits. */
export async function look(): Promise<SessionFacts | undefined> {
  try {
    const facts = await request<SessionFacts>('GET', 'auth/session');
    session.facts = facts;
    session.due = facts.due ?? undefined;
    return facts;
  } catch (error) {
    if (error instanceof ApiError) return undefined;
    throw error;
  }
}

function untold(value: boolean): void {
  try {
    if (value) localStorage.setItem(UNTOLD, '1');
    else localStorage.removeItem(UNTOLD);
  } catch {
    // Without storage the server's own limit ends the session.
  }
}
