// What the sign-in page needs after it stands: passkeys, and the people of a shared device.
import type { Component } from 'svelte';
import { request } from '$lib/api/client';
import { i18n } from '$lib/i18n/index.svelte';
import type { Opened, SecondFactorNeeded, SharedDevice } from '$lib/api/types';
import { ownPath } from '$lib/portals';
import { autofillWorks, showPasskey, type PasskeyOptions } from './passkey';

import { arrive } from './arrive';

export { arrive };

/** A challenge lives five minutes on the server; the one behind the name field is renewed before that. */
const CHALLENGE_MS = 4 * 60_000;

const options = () => request<PasskeyOptions>('POST', 'auth/passkey/options', { body: {}, anonymous: true });
const send = (credential: unknown) => request<Opened>('POST', 'auth/passkey', { body: { credential }, anonymous: true });
/** The question behind the name field; a browser answers one at a time. */
let autofill: AbortController | undefined;

/** Signs in by a passkey alone. Throws [ApiError]. */
export async function passkeySignIn(): Promise<Opened> {
  autofill?.abort();
  return send(await showPasskey(await options()));
}

/** A part of the page that comes later. */
export interface Part {
  // Each part knows its own properties; the page hands them on.
  part: Component<any>;
  props: Record<string, unknown>;
}
type Place = (part?: Part) => void;
type Take = (reply: Opened) => Promise<void>;

/** The question for the second factor, in the place of the form. */
export async function second(pending: SecondFactorNeeded, onopened: Take, instead: Place): Promise<void> {
  const [{ default: part }] = await Promise.all([import('./SecondFactor.svelte'), i18n.need('account', 'errors')]);
  instead({ part, props: { pending, title: true, onopened, onback: () => instead() } });
}

/** What comes once the form stands. */
export async function begin(signal: AbortSignal, onopened: Take, instead: Place, beside: Place): Promise<void> {
  if (signal.aborted) return;
  const { searchParams, origin, hash } = new URL(location.href);
  const pending = pendingOf(hash);
  if (pending) {
    // Read once: a reload begins anew.
    history.replaceState(history.state, '', location.pathname + location.search);
    const back = ownPath(pending.next, origin);
    await second(pending.needed, async (reply) => arrive(reply, back), instead);
  }
  const around = { next: ownPath(searchParams.get('next'), origin), outside: searchParams.get('provider-error') };
  const { default: part } = await import('./Others.svelte');
  beside({ part, props: around });
  void people(signal).then((device) => {
    if (!device) return;
    const show = async () => {
      const [{ default: list }] = await Promise.all([import('./People.svelte'), i18n.need('account', 'errors')]);
      instead({ part: list, props: { device, title: true, onopened, onpassword: () => instead() } });
    };
    beside({ part, props: { ...around, onpin: show } });
    void show();
  });
  if (await autofillWorks()) void offer(signal, onopened);
}

/** An outside provider said who it is; our own second factor comes next (`#second-factor=ID&factors=totp,passkey&return=/`). */
export function pendingOf(hash: string): { needed: SecondFactorNeeded; next: string | null } | undefined {
  const values = new URLSearchParams(hash.slice(1));
  const pending_id = values.get('second-factor');
  if (!pending_id) return undefined;
  const factors = (values.get('factors') ?? '').split(',').filter(Boolean);
  return { needed: { pending_id, factors, expires_at: '' }, next: values.get('return') };
}

/** Who changes over here; nobody on a device that is not shared. */
async function people(signal: AbortSignal): Promise<SharedDevice | undefined> {
  try {
    const device = await request<SharedDevice>('GET', 'auth/device', { anonymous: true, signal });
    return device.people.length > 0 ? device : undefined;
  } catch {
    return undefined;
  }
}

/** Lets the browser offer passkeys among the names it fills in, as long as the page is open. */
async function offer(signal: AbortSignal, onopened: Take): Promise<void> {
  while (!signal.aborted) {
    const round = new AbortController();
    autofill = round;
    let renewed = false;
    const renew = setTimeout(() => {
      renewed = true;
      round.abort();
    }, CHALLENGE_MS);
    const leave = () => round.abort();
    signal.addEventListener('abort', leave);
    try {
      const credential = await showPasskey(await options(), round.signal);
      await onopened(await send(credential));
      return;
    } catch {
      // Another way was chosen, the page left, or the passkey is none of ours: the buttons say why when asked.
      if (!renewed) return;
    } finally {
      clearTimeout(renew);
      signal.removeEventListener('abort', leave);
    }
  }
}
