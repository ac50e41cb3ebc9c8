import { ApiError, configureClient, request, type StepUpNeed } from '$lib/api/client';
import type { Me, Opened, Role, SecondFactorNeeded, SessionFacts } from '$lib/api/types';
import { setZone } from '$lib/format/zone';
import { i18n, isLocale } from '$lib/i18n/index.svelte';

/** Why the page is covered: nobody touched it, the session ended elsewhere, or somebody else wants to work here. */
export type LockReason = 'idle' | 'ended' | 'switch';

/** How a session ends, here and in other tabs; comes when it is needed. */
const ending = () => import('$lib/account/ending');

/** Who is signed in. `me` is undefined until the server has answered, null when nobody is. */
class SessionState {
  me = $state.raw<Me | null>();
  /** Why `me` could not be read (no connection). */
  error = $state.raw<ApiError>();
  /** Set while the page is covered until somebody signs in. */
  lock = $state<LockReason>();
  /** What the server wants done before anything else: `password-change-needed` or `second-factor-needed`. */
  due = $state<string>();
  /** The act that waits until the person has shown herself again. */
  stepUp = $state.raw<StepUpNeed>();
  /** Limits and factors of this session, once they were asked for. */
  facts = $state.raw<SessionFacts>();
  #waiting: ((again: boolean) => void)[] = [];
  #stepping: ((shown: boolean) => void)[] = [];

  async start(): Promise<void> {
    this.error = undefined;
    try {
      // A lock that the server was not told of: whoever opens the page then must not find the session.
      if (stored('uzima.locked')) await (await ending()).end();
      await this.adopt(await request<Me>('GET', 'me', { anonymous: true }));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 401) this.me = null;
      else this.error = error;
    }
  }
  async adopt(me: Me): Promise<void> {
    setZone(me.timezone);
    if (!i18n.chosen && isLocale(me.language)) await i18n.use(me.language, false);
    this.me = me;
    this.error = undefined;
  }
  /** Takes a session that has just begun, by whatever way. */
  async opened(reply: Opened): Promise<Me> {
    this.due = reply.due ?? undefined;
    this.facts = undefined;
    await this.adopt(reply.user);
    void ending().then(({ tell }) => tell({ type: 'open', account: reply.user.account_id }));
    return reply.user;
  }
  /** The session, or what else is needed for one. */
  signIn(login: string, password: string): Promise<Opened | SecondFactorNeeded> {
    return request('POST', 'auth/login', { body: { login, password }, anonymous: true });
  }
  async signOut(): Promise<void> {
    await (await ending()).signOut();
  }
  /** Covers the page until somebody signs in; resolves when it was the same person, or nobody. */
  ask(): Promise<boolean> {
    if (!this.me) return Promise.resolve(false);
    this.lock ??= 'ended';
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
  answer(again: boolean): void {
    this.lock = undefined;
    for (const resolve of this.#waiting.splice(0)) resolve(again);
  }
  /** Asks the person to show herself again; resolves false when she does not want to. */
  confirm(need: StepUpNeed): Promise<boolean> {
    this.stepUp ??= need;
    return new Promise((resolve) => this.#stepping.push(resolve));
  }
  confirmed(shown: boolean): void {
    this.stepUp = undefined;
    for (const resolve of this.#stepping.splice(0)) resolve(shown);
  }
  /** Something stands over the page. */
  get guarded(): boolean {
    return !!(this.lock || this.stepUp || this.due);
  }
  has(...roles: Role[]): boolean {
    return roles.some((role) => this.me?.roles.includes(role));
  }
  get clinic(): Me['clinic'] | undefined {
    return this.me?.clinic;
  }
  /** Works at the clinic, whatever else. */
  get staff(): boolean {
    return !!this.me?.roles.some((role) => role !== 'patient' && role !== 'proxy');
  }
}

function stored(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export const session = new SessionState();

configureClient({
  reauthenticate: () => session.ask(),
  language: () => i18n.locale,
  stepUp: (need) => session.confirm(need),
  due: (code) => (session.due = code)
});
